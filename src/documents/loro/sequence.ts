/** Pairs of positions of equal items, rising in both lists. */
export type Matches = [before: number, after: number][];

/** Above this many comparisons the longest common subsequence is approximated. */
const exactComparisons = 1_000_000;

/**
 * What two lists have in common, in order, so that the rest is what must be deleted and inserted. In: the items as keys, equal for
 * equal items. The longest possible, but for large lists that differ much, where items that occur once decide.
 */
export function commonSubsequence(before: readonly string[], after: readonly string[]): Matches {
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start++;
  let tail = 0;
  while (tail < shorter - start && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail++;
  const matches: Matches = [];
  for (let index = 0; index < start; index++) matches.push([index, index]);
  const middle = [before.slice(start, before.length - tail), after.slice(start, after.length - tail)] as const;
  const exact = middle[0].length * middle[1].length <= exactComparisons;
  for (const [left, right] of exact ? longestCommon(...middle) : rising(pairUp(...middle))) {
    matches.push([start + left, start + right]);
  }
  for (let index = tail; index > 0; index--) matches.push([before.length - index, after.length - index]);
  return matches;
}

function longestCommon(before: readonly string[], after: readonly string[]): Matches {
  const width = after.length + 1;
  const lengths = new Uint32Array((before.length + 1) * width);
  const at = (left: number, right: number) => lengths[left * width + right] ?? 0;
  for (let left = before.length - 1; left >= 0; left--) {
    for (let right = after.length - 1; right >= 0; right--) {
      lengths[left * width + right] =
        before[left] === after[right]
          ? at(left + 1, right + 1) + 1
          : Math.max(at(left + 1, right), at(left, right + 1));
    }
  }
  const matches: Matches = [];
  for (let left = 0, right = 0; left < before.length && right < after.length; ) {
    if (before[left] === after[right]) matches.push([left++, right++]);
    else if (at(left + 1, right) >= at(left, right + 1)) left++;
    else right++;
  }
  return matches;
}

/** The first of equal items in one list with the first in the other, the second with the second. In order of `after`. */
export function pairUp(before: readonly string[], after: readonly string[]): Matches {
  const places = new Map<string, number[]>();
  for (const [index, key] of before.entries()) {
    const list = places.get(key);
    if (list) list.push(index);
    else places.set(key, [index]);
  }
  const used = new Map<string, number>();
  const pairs: Matches = [];
  for (const [index, key] of after.entries()) {
    const next = used.get(key) ?? 0;
    const place = places.get(key)?.[next];
    if (place === undefined) continue;
    used.set(key, next + 1);
    pairs.push([place, index]);
  }
  return pairs;
}

/** The longest run of pairs, not necessarily adjacent, whose first positions rise as the second ones do: what need not move. */
export function rising(pairs: Matches): Matches {
  /** `ends[n]`: the pair that ends the best run of n + 1 pairs. */
  const ends: number[] = [];
  const previous: number[] = [];
  for (const [index, [place]] of pairs.entries()) {
    let low = 0;
    for (let high = ends.length; low < high; ) {
      const half = (low + high) >> 1;
      if ((pairs[ends[half] ?? 0]?.[0] ?? 0) < place) low = half + 1;
      else high = half;
    }
    previous[index] = ends[low - 1] ?? -1;
    ends[low] = index;
  }
  const run: Matches = [];
  for (let index = ends.at(-1) ?? -1; index >= 0; index = previous[index] ?? -1) {
    const pair = pairs[index];
    if (pair) run.push(pair);
  }
  return run.reverse();
}

export interface Gap {
  /** Where it begins in the list before. */
  at: number;
  before: number[];
  after: number[];
}

/** What lies between neighbouring matches, unmatched on either side. In order. */
export function gapsBetween(matches: Matches, beforeLength: number, afterLength: number): Gap[] {
  const gaps: Gap[] = [];
  let [left, right] = [0, 0];
  for (const [nextLeft, nextRight] of [...matches, [beforeLength, afterLength] as const]) {
    if (nextLeft > left || nextRight > right)
      gaps.push({ at: left, before: range(left, nextLeft), after: range(right, nextRight) });
    [left, right] = [nextLeft + 1, nextRight + 1];
  }
  return gaps;
}

const range = (from: number, to: number) => Array.from({ length: Math.max(0, to - from) }, (_, index) => from + index);
