import type { LoroText } from "loro-crdt";

/**
 * Makes the text `wanted` by the few insertions and deletions that differ, so that concurrent typing elsewhere in it merges.
 * A single changed stretch is found without comparing what lies inside it. Else Loro compares character by character, for
 * `timeoutMs`, and beyond that by line.
 */
export function reconcileText(text: LoroText, wanted: string, timeoutMs: number): void {
  const current = text.toString();
  if (current === wanted) return;
  const shorter = Math.min(current.length, wanted.length);
  let start = 0;
  while (start < shorter && current.charCodeAt(start) === wanted.charCodeAt(start)) start++;
  if (splitsPair(current, start) || splitsPair(wanted, start)) start--;
  let tail = 0;
  while (
    tail < shorter - start &&
    current.charCodeAt(current.length - 1 - tail) === wanted.charCodeAt(wanted.length - 1 - tail)
  ) {
    tail++;
  }
  if (splitsPair(current, current.length - tail) || splitsPair(wanted, wanted.length - tail)) tail--;
  const deleted = current.length - tail - start;
  const inserted = wanted.slice(start, wanted.length - tail);
  if (deleted === 0 || inserted === "") {
    if (deleted > 0) text.delete(start, deleted);
    if (inserted !== "") text.insert(start, inserted);
    return;
  }
  try {
    text.update(wanted, { timeoutMs });
  } catch (error) {
    // Out of time is thrown as a string; an Error is a trap or a fault.
    if (error instanceof Error && error.name === "RuntimeError") throw error;
    text.updateByLine(wanted);
  }
}

/** Whether `index` lies between the two halves of a character beyond U+FFFF. */
function splitsPair(text: string, index: number): boolean {
  const before = text.charCodeAt(index - 1);
  const after = text.charCodeAt(index);
  return before >= 0xd800 && before <= 0xdbff && after >= 0xdc00 && after <= 0xdfff;
}
