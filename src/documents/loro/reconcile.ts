import type { Container, LoroList, LoroMap, LoroMovableList } from "loro-crdt";
import { isContainer } from "./is-container.js";
import { canonicalJson, type Json, sameJson, toJson } from "./json.js";
import { commonSubsequence, gapsBetween, pairUp, rising } from "./sequence.js";
import { reconcileText } from "./text.js";

/**
 * Brings a container to a wanted value by the fewest operations, so that what is not touched keeps its identity and merges with
 * concurrent edits. Containers that a Loro client nested inside are changed in place where the wanted value is of their shape.
 */
export interface ReconcileOptions {
  textDiffMs: number;
}

/** Out: whether a nested container could be changed in place to the wanted value; else the caller replaces it. */
function reconcileNested(container: Container, wanted: Json, options: ReconcileOptions): boolean {
  switch (container.kind()) {
    case "Text":
      if (typeof wanted !== "string") return false;
      reconcileText(container as Extract<Container, { kind(): "Text" }>, wanted, options.textDiffMs);
      return true;
    case "List":
      if (!Array.isArray(wanted)) return false;
      reconcileList(container as LoroList, wanted, options);
      return true;
    case "MovableList":
      if (!Array.isArray(wanted)) return false;
      reconcileMovableList(container as LoroMovableList, wanted, options);
      return true;
    case "Map":
      if (typeof wanted !== "object" || wanted === null || Array.isArray(wanted)) return false;
      reconcileMap(container as LoroMap, wanted, options);
      return true;
    case "Counter": {
      if (typeof wanted !== "number") return false;
      const counter = container as Extract<Container, { kind(): "Counter" }>;
      const difference = wanted - counter.getShallowValue();
      if (difference !== 0) counter.increment(difference);
      return true;
    }
    default:
      return false;
  }
}

export function reconcileMap(
  map: LoroMap,
  wanted: { [key: string]: Json },
  options: ReconcileOptions,
  keep?: ReadonlySet<string>,
): void {
  for (const key of map.keys() as string[]) {
    if (!Object.hasOwn(wanted, key) && !keep?.has(key)) map.delete(key);
  }
  for (const [key, value] of Object.entries(wanted)) {
    const current: unknown = map.get(key);
    if (current !== undefined && sameJson(toJson(current), value)) continue;
    if (isContainer(current) && reconcileNested(current, value, options)) continue;
    map.set(key, value);
  }
}

/** A list's items cannot move: what is not in both, in the same order, is deleted and inserted. */
export function reconcileList(list: LoroList, wanted: readonly Json[], options: ReconcileOptions): void {
  const items: unknown[] = list.toArray();
  const matches = commonSubsequence(
    items.map((item) => canonicalJson(toJson(item))),
    wanted.map(canonicalJson),
  );
  // From the end, so that the positions before stay as they are.
  for (const { at, before, after } of gapsBetween(matches, items.length, wanted.length).reverse()) {
    const values = after.map((index) => wanted[index] ?? null);
    // Pair off from the front those that can be changed in place.
    let paired = 0;
    for (const index of before) {
      const item = items[index];
      if (paired === values.length || !isContainer(item) || !reconcileNested(item, values[paired] ?? null, options))
        break;
      paired++;
    }
    if (before.length > paired) list.delete(at + paired, before.length - paired);
    for (const [index, value] of values.slice(paired).entries()) list.insert(at + paired + index, value);
  }
}

/**
 * Items are recognised by their `id` if they are objects that have one, else by their value. Recognised items keep their identity:
 * they are moved where their order changed (as few as possible) and set where their content did.
 */
export function reconcileMovableList(list: LoroMovableList, wanted: readonly Json[], options: ReconcileOptions): void {
  const items: unknown[] = list.toArray();
  const values = items.map(toJson);
  const pairs = pairUp(values.map(identity), wanted.map(identity));
  const fixed = rising(pairs);
  /** Position in the wanted list → position in the old one. */
  const origin = new Map(pairs.map(([before, after]) => [after, before]));
  const matchedOld = new Set(pairs.map(([before]) => before));
  // Between two items that stay, an old item nobody claims becomes the new item that came from nowhere: changed, not replaced.
  for (const gap of gapsBetween(fixed, items.length, wanted.length)) {
    const unclaimed = gap.before.filter((index) => !matchedOld.has(index) && !hasId(values[index]));
    for (const after of gap.after) {
      if (origin.has(after) || hasId(wanted[after])) continue;
      const before = unclaimed.shift();
      if (before === undefined) break;
      origin.set(after, before);
      matchedOld.add(before);
      fixed.push([before, after]);
    }
  }
  const stays = new Set(fixed.map(([, after]) => after));
  const current = [...items.keys()].filter((index) => matchedOld.has(index));
  for (const index of [...items.keys()].reverse()) if (!matchedOld.has(index)) list.delete(index, 1);
  let position = 0;
  for (const [after, value] of wanted.entries()) {
    const before = origin.get(after);
    if (before === undefined) {
      list.insert(position, value);
      current.splice(position, 0, -1);
    } else {
      const from = current.indexOf(before);
      if (stays.has(after)) {
        // Items between are loose: each is moved behind its own predecessor when its turn comes, or has been.
        position = from;
      } else {
        current.splice(from, 1);
        if (from < position) position--;
        current.splice(position, 0, before);
        if (from !== position) list.move(from, position);
      }
      if (!sameJson(values[before], value)) {
        const item = items[before];
        if (!isContainer(item) || !reconcileNested(item, value, options)) list.set(position, value);
      }
    }
    position++;
  }
}

function hasId(value: Json | undefined): value is { id: string | number } {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  return typeof value.id === "string" || typeof value.id === "number";
}

function identity(value: Json): string {
  return hasId(value) ? `id:${JSON.stringify(value.id)}` : canonicalJson(value);
}
