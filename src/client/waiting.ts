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
    const timer = setTimeout(done, Math.min(ms, longestMs));
    signal?.addEventListener("abort", done);
  });
}

/** A timer that is to wait for longer comes at once. */
const longestMs = 2 ** 31 - 1;

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

/** What the work gives. Errors: its own; one that says so when it has given nothing for so long. */
export function within<T>(ms: number, work: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`nothing came for ${ms} ms`)), ms);
    work()
      .then(resolve, reject)
      .finally(() => clearTimeout(timer));
  });
}

/** Resolves when the promise is settled, or so much later. */
export async function settledWithin(ms: number, promise: Promise<unknown>): Promise<void> {
  await within(ms, () => promise).catch(() => undefined);
}

/** What a promise gives, unless the signal comes first. Errors: its reason. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
