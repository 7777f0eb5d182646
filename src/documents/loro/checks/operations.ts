import type { ContainerID, LoroDoc, TreeID, VersionVector } from "loro-crdt";
import { PerchError } from "../../../errors.js";
import { isMergeable, parseMergeable, wasMade } from "../mergeable.js";
import { type LoroChange, type LoroOperation, lengthOf, parseId, readOperations, unreadable } from "./oplog.js";

/** A nested container, as an operation's JSON names it: this, then its id. */
export const containerPrefix = "🦜:cid:";

const containerTypes: ReadonlySet<string> = new Set(["Text", "Map", "List", "MovableList", "Tree", "Counter"]);

/** What operations refer to. */
interface References {
  doc: LoroDoc;
  /** What was looked up already, and was there. */
  found: Set<string>;
  /** Mergeable children that were met. */
  mergeable: Set<ContainerID>;
  change: LoroChange;
  /** The number of the operation being looked at. */
  at: number;
  /** What the change was made after; looked up when first needed, which most keystrokes never do. */
  past: VersionVector | undefined;
}

/**
 * Whether operations hold together: no gap and no overlap in their numbers, containers and tree nodes named after the operation that
 * makes them, and whatever they refer to made by an operation of the right container that they were made after. Loro checks none of
 * this when it imports. A document that took in such operations fails later, when it is exported, loaded, or looked at in an older
 * version, or it is not the same in every replica.
 * In: all new operations of one peer; the document has them, but need not show them yet. Out: to be called when it does.
 * Errors, of both: PE422 saying what does not hold together.
 */
export function checkStructure(doc: LoroDoc, changes: readonly LoroChange[], start: number, end: number): () => void {
  const found = new Set<string>();
  const mergeable = new Set<ContainerID>();
  let next = start;
  let before: LoroOperation | undefined;
  for (const change of changes) {
    const { peer, start: first, ops } = change;
    const references: References = { doc, found, mergeable, change, at: first, past: undefined };
    if (first !== next) throw forged(`operation ${next}@${peer} is missing`);
    if (first > 0 && !followsItself(references))
      throw forged(`the operations from ${first}@${peer} do not follow those before`);
    for (const op of ops) {
      if (op.counter !== next) throw forged(`operation ${next}@${peer} is missing or there twice`);
      checkReferences(references, op);
      const pair = before?.content.type === "mark" || op.content.type === "mark_end";
      // A mark and its end are one thing, but for the rare span that begins between the two.
      if (pair && before && !isMarkPair(before, op)) throw forged(`the mark at ${next}@${peer} is torn`);
      const length = lengthOf(op.content);
      if (length === 0) throw forged(`operation ${next}@${peer} is empty`);
      next += length;
      before = op;
    }
    references.past?.free();
  }
  if (before?.content.type === "mark") throw forged(`the mark at ${before.counter} has no end`);
  if (next !== end) throw forged(`${end - next} operations are missing`);
  return () => {
    for (const container of mergeable) {
      if (!wasMade(doc, container)) throw forged(`the container ${container} is not there`);
    }
  };
}

/** Whether a change was made after its own peer's operations before it, all of them. */
function followsItself(references: References): boolean {
  const { peer, start, deps } = references.change;
  return deps.some((dep) => dep.peer === peer && dep.counter === start - 1) || pastOf(references).get(peer) === start;
}

function pastOf(references: References): VersionVector {
  references.past ??= references.doc.frontiersToVV(references.change.deps);
  return references.past;
}

function isMarkPair(first: LoroOperation, second: LoroOperation): boolean {
  const { type, start = 0, end = 0 } = first.content;
  return type === "mark" && start < end && second.content.type === "mark_end" && first.container === second.container;
}

function checkReferences(references: References, { container, counter, content }: LoroOperation): void {
  const { peer } = references.change;
  references.at = counter;
  const { type, value, target, parent, elem_id: element, start_id: startId } = content;
  const own = `${counter}@${peer}`;
  checkExists(references, container);
  if (value !== undefined && value !== null && type !== "counter" && type !== "mark") {
    const items = type === "insert" && content.key === undefined && Array.isArray(value) ? value : [value];
    for (const [index, item] of items.entries()) checkCreated(item, `${counter + index}@${peer}`);
  }
  if (target !== undefined) {
    if (type === "create" ? target !== own : !isNode(references, container, target)) {
      throw forged(`operation ${own} names a tree node ${target} that is not there`);
    }
    if (typeof parent === "string" && !isNode(references, container, parent)) {
      throw forged(`operation ${own} names a tree node ${parent} that is not there`);
    }
  }
  const { fractional_index: place } = content;
  if (place !== undefined && !orderly.test(place))
    throw forged(`operation ${own} places a tree node at ${place || "nothing"}`);
  const item = element === undefined ? startId : idOfElement(references.doc, element);
  const count = startId === undefined ? 1 : lengthOf(content);
  if (item !== undefined && !areItems(references, container, item, count)) {
    throw forged(`operation ${own} names an item ${item} that is not there`);
  }
}

/**
 * Places among siblings as Loro makes them unless asked for jitter. Beside any other (with jitter they may end in any byte) the next
 * node that somebody creates can make their Loro trap.
 */
const orderly = /^(?:[0-9A-F]{2})*80$/;

/** A value that names a container creates it, so the name is the operation's own; anywhere deeper inside a value no name may stand. */
function checkCreated(value: unknown, own: string): void {
  if (typeof value === "string") {
    if (!value.startsWith(containerPrefix)) return;
    const [id = "", type = ""] = value.slice(containerPrefix.length).split(":");
    if (id !== own || !containerTypes.has(type)) throw forged(`operation ${own} creates the container ${value}`);
    return;
  }
  const stack: unknown[] = [value];
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    if (typeof next === "string" && next.startsWith(containerPrefix))
      throw forged(`operation ${own} hides the container ${next}`);
    if (typeof next === "object" && next !== null) for (const item of Object.values(next)) stack.push(item ?? null);
  }
}

/** A container that is no root was made by the operation it is named after; a mergeable one by a mark in a map that was made. */
function checkExists(references: References, container: ContainerID): void {
  if (isMergeable(container)) {
    const head = parseMergeable(container)?.head;
    if (head === undefined) throw forged(`the container ${container} is not there`);
    references.mergeable.add(container);
    checkExists(references, head);
    return;
  }
  if (container.startsWith("cid:root-")) return;
  const [id = "", type = ""] = container.slice("cid:".length).split(":");
  const makes = ({ content }: LoroOperation) =>
    content.target === undefined
      ? firstValue(content) === `${containerPrefix}${id}:${type}`
      : content.type === "create" && type === "Map";
  if (!refersTo(references, id, container, makes)) throw forged(`the container ${container} is not there`);
}

function isNode(references: References, container: ContainerID, node: TreeID): boolean {
  return refersTo(references, node, `node ${node} ${container}`, (maker) => {
    return maker.container === container && maker.content.type === "create";
  });
}

/** Items of lists, and places that moved items left for; characters of texts, and the ends of marks. */
const itemMakers: ReadonlySet<string> = new Set(["insert", "move", "mark", "mark_end"]);

/** Elements of movable lists go by the Lamport time of the operation that made them, `L12@34`. */
function idOfElement(doc: LoroDoc, element: string): string {
  const { peer, counter: lamport } = parseId(element.replace(/^L/, ""));
  const change = Number.isInteger(lamport) ? doc.getChangeAtLamport(peer, lamport) : undefined;
  return change ? `${change.counter + lamport - change.lamport}@${peer}` : element;
}

function areItems(references: References, container: ContainerID, item: string, count: number): boolean {
  return refersTo(
    references,
    item,
    `item ${item} ${count} ${container}`,
    (maker) => {
      return maker.container === container && itemMakers.has(maker.content.type);
    },
    count,
  );
}

/** Whether the operation `id`, and the `count - 1` that follow it, are ones that fit, and lie in the past of the change. */
function refersTo(
  references: References,
  id: string,
  key: string,
  fits: (op: LoroOperation) => boolean,
  count = 1,
): boolean {
  const { doc, found, change } = references;
  if (!/^\d+@\d+$/.test(id)) return false;
  const { peer, counter } = parseId(id);
  const end = counter + count;
  const isOwn = peer === change.peer && end > change.start;
  if (isOwn ? end > references.at : end > (pastOf(references).get(peer) ?? 0)) return false;
  if (found.has(key)) return true;
  let next = counter;
  for (const { ops } of readOperations(doc, peer, counter, end)) {
    for (const maker of ops) {
      if (maker.content.type !== unreadable && !fits(maker)) return false;
      next += lengthOf(maker.content);
    }
  }
  if (next !== end) return false;
  found.add(key);
  return true;
}

function firstValue({ type, key, value }: LoroOperation["content"]): unknown {
  return type === "insert" && key === undefined && Array.isArray(value) ? value[0] : value;
}

function forged(reason: string): PerchError {
  return new PerchError("PE422", `the update was refused: it does not hold together: ${reason}`, { reason });
}
