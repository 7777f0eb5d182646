/** Lets at most so many pieces of work run at once; the others wait in line. */
export function createGate(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  let running = 0;
  const line: (() => void)[] = [];
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => line.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      // Whoever is next takes this one's place.
      const next = line.shift();
      if (next === undefined) running -= 1;
      else next();
    }
  };
}

/** Whether another of so many a second is due; twice as many in a burst. */
export function createRate(perSecond: number, now: () => number = Date.now): () => boolean {
  let tokens = perSecond * 2;
  let at = now();
  return () => {
    const time = now();
    tokens = Math.min(perSecond * 2, tokens + ((time - at) / 1000) * perSecond);
    at = time;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  };
}
