import { type ContainerID, Cursor, type LoroDoc, type LoroList, type LoroText, type OpId } from "loro-crdt";
import { withHandle } from "./handles.js";
import { type Change, type Operation, parseId, readOperations } from "./oplog.js";
import { refused } from "./refusals.js";
import type { Spans } from "./spans.js";

/** Items of one deletion that are looked up; of longer ones, so many spread over its length. */
const maxLookups = 64;

type Sequence = LoroText | LoroList;

/**
 * Whether deletions and insertions name places that were there. A deletion says where it deletes and what; Loro goes by the place, and
 * keeps the name for later. If the two differ, what it names is still there, and the document will trap when it is taken back
 * to an older version. An insertion beyond the end is noticed by Loro, unless it was deleted again before anybody saw it.
 * In: changes just imported, the document up to date with them.
 * Errors: PE422.
 */
export function checkPositions(doc: LoroDoc, changes: readonly Change[], spans: Spans): void {
  const sequences = new Map<ContainerID, Sequence | undefined>();
  const find = (container: ContainerID): Sequence | undefined => {
    if (!sequences.has(container)) sequences.set(container, sequenceOf(doc, container));
    return sequences.get(container);
  };
  /** Texts and lists in which something was deleted that was inserted in the same update. */
  const unseen = new Set<ContainerID>();
  for (const { peer, ops } of changes) {
    for (const op of ops) {
      const { type, start_id: startId, len = 0 } = op.content;
      if (type !== "delete" || startId === undefined) continue;
      const sequence = find(op.container);
      if (!sequence) continue;
      const first = parseId(startId);
      const span = spans.get(first.peer);
      if (span && first.counter + Math.abs(len) > span.start && first.counter < span.end) unseen.add(op.container);
      const there = sampled(Math.abs(len)).find((offset) =>
        isThere(doc, sequence, { ...first, counter: first.counter + offset }),
      );
      if (there !== undefined) {
        throw refused(
          `it does not hold together: operation ${op.counter}@${peer} deletes something else than it names`,
        );
      }
    }
  }
  for (const container of unseen) {
    const sequence = find(container);
    if (sequence) checkBounds(doc, container, sequence, changes, spans);
  }
}

function sequenceOf(doc: LoroDoc, container: ContainerID): Sequence | undefined {
  if (!/:(Text|List)$/.test(container)) return undefined;
  return doc.getContainerById(container) as Sequence | undefined;
}

function sampled(length: number): number[] {
  const count = Math.min(length, maxLookups);
  return Array.from({ length: count }, (_, index) => Math.floor((index * (length - 1)) / Math.max(1, count - 1)));
}

/** Whether the character or item that an operation made is there, and not deleted. */
function isThere(doc: LoroDoc, sequence: Sequence, id: OpId): boolean {
  const cursor = sequence.getCursor(0);
  if (!cursor) return false;
  const bytes = withHandle(cursor, (handle) => handle.encode());
  return withHandle(Cursor.decode(cursorAt(bytes, id)), (handle) => {
    const found = doc.getCursorPos(handle);
    found?.update?.free();
    return found !== undefined && found.update === undefined;
  });
}

/** A cursor like the given one, at another item: the bytes begin with whether there is one, then its peer and counter. */
function cursorAt(template: Uint8Array, { peer, counter }: OpId): Uint8Array {
  let at = 1;
  if (template[0] === 1) for (let numbers = 0; numbers < 2; numbers++) while ((template[at++] ?? 0) >= 0x80);
  return Uint8Array.from([1, ...leb(BigInt(peer)), ...leb(BigInt(counter) * 2n), ...template.subarray(at)]);
}

function leb(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}

/**
 * No insertion may reach beyond the end of the sequence as its author had it. How long that was is known but for what others deleted
 * meanwhile, and for the ends of marks, which count in a text: these are looked for, in the whole history, only when it matters.
 */
function checkBounds(
  doc: LoroDoc,
  container: ContainerID,
  sequence: Sequence,
  changes: readonly Change[],
  spans: Spans,
): void {
  const ops = changes.flatMap((change) => change.ops.filter((op) => op.container === container));
  const before = visibleLength(sequence) - ops.reduce((sum, op) => sum + growth(op), 0);
  if (!firstBeyond(ops, before)) return;
  const beyond = firstBeyond(ops, before + unaccounted(doc, container, isLinear(doc, changes, spans)));
  if (beyond) {
    throw refused(`it does not hold together: operation ${beyond.counter} inserts beyond the end of ${container}`);
  }
}

function firstBeyond(ops: readonly Operation[], before: number): Operation | undefined {
  let length = before;
  return ops.find((op) => {
    if (op.content.type === "insert" && (op.content.pos ?? 0) > length) return true;
    length += growth(op);
    return false;
  });
}

/** Whether the changes were made on the document as it was, one after another. */
function isLinear(doc: LoroDoc, changes: readonly Change[], spans: Spans): boolean {
  if (spans.size !== 1) return false;
  const [first, ...rest] = changes;
  if (
    !first ||
    !rest.every(({ peer, start, deps }) => deps.length === 1 && deps[0]?.peer === peer && deps[0].counter === start - 1)
  ) {
    return false;
  }
  const past = withHandle(doc.frontiersToVV(first.deps), (version) => version.toJSON());
  const now = withHandle(doc.oplogVersion(), (version) => version.toJSON());
  return [...now].every(([peer, end]) => (past.get(peer) ?? 0) === (spans.get(peer)?.start ?? end));
}

/** Places that an author may have counted and the sequence does not show: ends of marks and, unless `linear`, what was deleted. */
function unaccounted(doc: LoroDoc, container: ContainerID, linear: boolean): number {
  let count = 0;
  for (const [peer, end] of withHandle(doc.oplogVersion(), (version) => version.toJSON())) {
    for (const op of readOperations(doc, peer, 0, end).flatMap(({ ops }) => ops)) {
      if (op.container !== container) continue;
      if (op.content.type.startsWith("mark")) count++;
      if (op.content.type === "delete" && !linear) count += Math.abs(op.content.len ?? 0);
    }
  }
  return count;
}

function visibleLength(sequence: Sequence): number {
  if (sequence.kind() === "List") return sequence.length;
  const text = sequence as LoroText;
  return Number(text.convertPos(text.length, "utf16", "unicode") ?? text.length);
}

function growth({ content }: Operation): number {
  const { type, text, value, len = 0 } = content;
  if (type === "delete") return -Math.abs(len);
  if (type === "mark" || type === "mark_end") return 1;
  if (type !== "insert") return 0;
  return text === undefined ? (Array.isArray(value) ? value.length : 1) : [...text].length;
}
