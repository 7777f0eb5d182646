/** Exponential back-off with jitter: half of the pause is certain, so that nobody hammers, and half is chance, so that not all come at once. */
export function pauseMs(attempt: number, firstMs: number, longestMs: number): number {
  const most = Math.min(longestMs, firstMs * 2 ** Math.min(attempt, 30));
  return most / 2 + Math.random() * (most / 2);
}

/** Lets that much time pass; less when the signal comes. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

export interface Deadline {
  readonly signal: AbortSignal;
  touch(): void;
  pause(): void;
  end(): void;
}

/**
 * A signal that comes with another, or when `touch` was not called for so long, unless it was paused. Not AbortSignal.any and .timeout: browsers of two years ago
 * have neither. Call `end` when it is needed no more.
 */
export function deadline(ms: number, outer: AbortSignal | undefined): Deadline {
  const controller = new AbortController();
  const abort = () => controller.abort(outer?.reason);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const touch = () => {
    clearTimeout(timer);
    timer = setTimeout(() => controller.abort(new Error(`nothing came for ${ms} ms`)), ms);
  };
  if (outer?.aborted) abort();
  else outer?.addEventListener("abort", abort);
  touch();
  return {
    signal: controller.signal,
    touch,
    pause: () => clearTimeout(timer),
    end() {
      clearTimeout(timer);
      outer?.removeEventListener("abort", abort);
    },
  };
}
