/** One place at which two JSON values differ; `undefined` where one has nothing there. */
export interface Difference {
  readonly path: string;
  readonly before: unknown;
  readonly after: unknown;
}

const maxDifferences = 500;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Where two JSON values differ, by path, in the order of their keys; the first 500. */
export function differences(before: unknown, after: unknown): Difference[] {
  const found: Difference[] = [];
  compare("", before, after, found);
  return found;
}

function compare(path: string, before: unknown, after: unknown, found: Difference[]): void {
  if (found.length >= maxDifferences || Object.is(before, after)) return;
  if (Array.isArray(before) && Array.isArray(after)) {
    for (let n = 0; n < Math.max(before.length, after.length); n++)
      compare(`${path}[${n}]`, before[n], after[n], found);
    return;
  }
  if (isObject(before) && isObject(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
      const at = (value: Record<string, unknown>) => (Object.hasOwn(value, key) ? value[key] : undefined);
      compare(path === "" ? key : `${path}.${key}`, at(before), at(after), found);
    }
    return;
  }
  found.push({ path: path === "" ? "(all)" : path, before, after });
}

/** What two texts have in common at their beginning and end, and what stands between: for showing where one was edited. */
export function textDifference(before: string, after: string) {
  const max = Math.min(before.length, after.length);
  let start = 0;
  while (start < max && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < max - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return {
    head: before.slice(0, start),
    removed: before.slice(start, before.length - end),
    added: after.slice(start, after.length - end),
    tail: before.slice(before.length - end),
  };
}
