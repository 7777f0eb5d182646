import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { isPassing, type Question, view } from "./api.js";

export interface Asked<T> {
  /** The last answer, also while the next one fails. */
  readonly data: T | undefined;
  readonly error: unknown;
  /** Asks again at once. */
  again(): void;
}

const retryMs = 2_000;

/**
 * A view of the API: asked when it is shown, when the question changes, every `everyMs`, and, when that failed for a reason that passes,
 * again after a while. Without a name nothing is asked. Not while nobody looks: a tab in the background asks nothing.
 */
export function useView<T>(name: string | undefined, question: Question = {}, everyMs?: number): Asked<T> {
  const key = `${name} ${JSON.stringify(question)}`;
  const [answer, setAnswer] = useState<{ key: string; data?: T; error?: unknown }>({ key });
  const [turn, setTurn] = useState(0);
  const asked = useRef(question);
  asked.current = question;
  useEffect(() => {
    if (name === undefined) return;
    const asking = name;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const later = (ms: number) => {
      timer = setTimeout(() => (document.hidden ? later(ms) : void run()), ms);
    };
    async function run(): Promise<void> {
      try {
        const data = await view<T>(asking, asked.current, stop.signal);
        if (stop.signal.aborted) return;
        setAnswer({ key, data });
        if (everyMs !== undefined) later(everyMs);
      } catch (error) {
        if (stop.signal.aborted) return;
        setAnswer((before) => (before.key === key ? { ...before, error } : { key, error }));
        if (isPassing(error)) later(Math.max(everyMs ?? 0, retryMs));
      }
    }
    void run();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, everyMs, turn]);
  const again = useCallback(() => setTurn((before) => before + 1), []);
  const current = answer.key === key ? answer : { key, data: undefined, error: undefined };
  return { data: current.data, error: current.error, again };
}
