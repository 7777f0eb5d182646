/** Runs works of the same name one after another, and those of different names side by side. */
export interface KeyedMutex {
  /** Out, errors: as `work`, once it had its turn. */
  run<T>(name: string, work: () => Promise<T>): Promise<T>;
}

/** In: nothing. Out: a mutex for every name, which is forgotten when nobody is in line for it. */
export function createKeyedMutex(): KeyedMutex {
  /** What was last in line, by name; it ends without an error. */
  const last = new Map<string, Promise<unknown>>();
  return {
    run(name, work) {
      const done = (last.get(name) ?? Promise.resolve()).then(work);
      // Whose error it is hears of it; the next in line does not mind.
      const ended = done
        .catch(() => undefined)
        .finally(() => {
          if (last.get(name) === ended) last.delete(name);
        });
      last.set(name, ended);
      return done;
    },
  };
}

/** Runs works one after another, also after one that failed. */
export function createMutex(): <T>(work: () => Promise<T>) => Promise<T> {
  const mutex = createKeyedMutex();
  return (work) => mutex.run("", work);
}
