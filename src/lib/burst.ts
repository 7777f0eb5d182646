/** Says, each time that something happens, whether that was the last of `count` times within `withinMs`; then it counts anew. */
export function createBurst(count: number, withinMs: number, now: () => number = Date.now): () => boolean {
  let recent: number[] = [];
  return () => {
    const at = now();
    recent = [...recent.filter((earlier) => at - earlier < withinMs), at];
    if (recent.length < count) return false;
    recent = [];
    return true;
  };
}
