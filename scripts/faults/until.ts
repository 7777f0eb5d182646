/** Waiting for what others do. */
export const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));

const patienceMs = 60_000;

/** In: what is waited for, or what says it when it is too late. */
export async function until(what: string | (() => string), test: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + patienceMs; !(await test()); await pause(10)) {
    if (Date.now() > end)
      throw new Error(`${patienceMs / 1000} s have passed, and not yet: ${typeof what === "string" ? what : what()}`);
  }
}
