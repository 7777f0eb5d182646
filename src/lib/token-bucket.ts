/** Whether another of so many a second is due; twice as many in a burst. */
export function createTokenBucket(perSecond: number, now: () => number = Date.now): () => boolean {
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
