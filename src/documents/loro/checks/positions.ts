import type { ContainerID, LoroDoc, OpId, PeerID, VersionVector } from "loro-crdt";
import type { CachedDocument } from "../cache.js";
import type { Spans } from "../format/spans.js";
import { withHandle } from "../handles.js";
import { refused } from "../refusals.js";
import type { History } from "./history.js";
import { type LoroChange, type LoroOperation, lengthOf, parseId, readOperations, unreadable } from "./oplog.js";
import { createPieces, type Piece, type Pieces } from "./pieces.js";
import { type Places, placesOf } from "./places.js";

/** Items of one deletion that are looked up; of longer ones, so many spread over its length. */
const maxLookups = 64;
/** Operations of one update that are followed place by place: each costs the more the more there are. */
const maxFollowed = 5_000;
/** Items of one container that are looked for afterwards; of more, so many by chance. */
const maxGone = 500;
/**
 * For so long they are looked for, in no order, but one in any case. What is gone, as it should be, takes Loro as long to find as what
 * happened since: a few milliseconds each in the catching up of somebody who was away, who may have deleted hundreds.
 */
const lookMs = 50;

interface AuthoredOperation extends LoroOperation {
  peer: PeerID;
}

/** A text or list that new operations change. */
interface Sequence {
  before: Places | undefined;
  /** Followed operation by operation as long as every place in it is known. */
  pieces: Pieces | undefined;
  ops: AuthoredOperation[];
  /** Whether something was deleted that was inserted in the same update. */
  ownDeleted: boolean;
}

interface PositionCheck {
  doc: LoroDoc;
  spans: Spans;
  /** What the document does not show, up to the version before. */
  history(): History;
  sequences: Map<ContainerID, Sequence>;
  linear: boolean;
  /** Whether to follow every place. */
  follow: boolean;
  /** What must not be shown any more when the document has been brought up to date. */
  gone: Map<ContainerID, OpId[]>;
}

/**
 * Whether insertions and deletions in texts and lists name places that were there. A deletion says where it deletes and what. Loro goes
 * by the place, and keeps the name for later; should they differ, the document traps when it is taken back to an older version. An
 * insertion beyond the end is noticed by Loro, unless it was deleted again before anybody saw it.
 *
 * Operations made on the document just as it was are gone through place by place. For others, and in texts with marks (whose ends take
 * up places that cannot be seen), what a deletion names must not have been deleted before, and must be gone afterwards.
 *
 * In: a document that has the operations, and is detached at its version before them. Out: to be called when it is up to date.
 * Errors, of both: PE422.
 */
export function checkPositions(
  { doc, history }: CachedDocument,
  before: ReadonlyMap<PeerID, number>,
  changes: readonly LoroChange[],
  spans: Spans,
): () => void {
  const linear = isLinear(doc, changes, spans);
  const count = changes.reduce((sum, { ops }) => sum + ops.length, 0);
  // Where an operation that cannot be read inserts, nobody knows.
  const allRead = changes.every(({ ops }) => ops.every(({ content }) => content.type !== unreadable));
  let past: History | undefined;
  const check: PositionCheck = {
    doc,
    spans,
    history() {
      // Asked for once, and not for each of the items that are looked up in it.
      past ??= history(before);
      return past;
    },
    sequences: new Map(),
    linear,
    follow: linear && allRead && count <= maxFollowed,
    gone: new Map(),
  };
  for (const change of changes) for (const op of change.ops) checkOperation(check, change, op);
  if (allRead) for (const [container, sequence] of check.sequences) checkBounds(check, container, sequence);
  return () => {
    const wanted = [...check.gone].flatMap(([container, ids]) => ids.map((id) => ({ container, id })));
    const places = new Map([...check.gone.keys()].map((container) => [container, placesOf(doc, container)]));
    const until = performance.now() + lookMs;
    for (let left = wanted.length; left > 0; left--) {
      const [one] = wanted.splice(Math.floor(Math.random() * left), 1);
      if (one && places.get(one.container)?.shows(one.id)) {
        throw refused(`it does not hold together: something else was deleted in ${one.container} than was named`);
      }
      if (performance.now() > until) return;
    }
  };
}

function checkOperation(check: PositionCheck, change: LoroChange, op: LoroOperation): void {
  const { container, content } = op;
  if (!/:(Text|List)$/.test(container) || !["insert", "delete", "mark", "mark_end"].includes(content.type)) return;
  const sequence = sequenceOf(check, container);
  sequence.ops.push({ ...op, peer: change.peer });
  if (sequence.pieces && !follow(sequence.before, sequence.pieces, change.peer, op)) {
    sequence.pieces = undefined;
    const marked = sequence.ops.some(({ content: { type } }) => type.startsWith("mark"));
    if (!marked && check.history().marksIn(container) === 0) throw misplaced(op);
  }
  if (!sequence.pieces && content.type === "delete") checkNamed(check, sequence, change, op);
}

function sequenceOf({ doc, sequences, follow: places }: PositionCheck, container: ContainerID): Sequence {
  let sequence = sequences.get(container);
  if (!sequence) {
    const before = placesOf(doc, container);
    sequence = { before, pieces: places ? createPieces(before?.length ?? 0) : undefined, ops: [], ownDeleted: false };
    sequences.set(container, sequence);
  }
  return sequence;
}

/** Out: false when the operation does not fit the places as they are known. */
function follow(before: Places | undefined, pieces: Pieces, peer: PeerID, op: LoroOperation): boolean {
  const { type, pos = 0, len = 0, start_id: startId = "" } = op.content;
  if (type === "insert") return pieces.insert(pos, op.counter, lengthOf(op.content));
  if (type !== "delete") return false;
  // A deletion backwards names its last place, and its first item.
  const taken = pieces.take(len < 0 ? pos + len + 1 : pos, Math.abs(len));
  if (!taken) return false;
  const first = parseId(startId);
  let next = first.counter;
  for (const piece of taken) {
    // A run of one peer may begin in what was there and go on in what is new.
    const fits = piece.own
      ? first.peer === peer && piece.start === next
      : areAt(before, { peer: first.peer, counter: next }, piece);
    if (!fits) return false;
    next += piece.length;
  }
  return true;
}

function areAt(before: Places | undefined, first: OpId, { start, length }: Piece): boolean {
  return sampled(length).every((offset) => {
    const id = before?.idAt(start + offset);
    return id?.peer === first.peer && id.counter === first.counter + offset;
  });
}

function sampled(length: number): number[] {
  const count = Math.min(length, maxLookups);
  return Array.from({ length: count }, (_, index) => Math.floor((index * (length - 1)) / Math.max(1, count - 1)));
}

function isNew(spans: Spans, { peer, counter }: OpId): boolean {
  const span = spans.get(peer);
  return span !== undefined && counter >= span.start && counter < span.end;
}

/** What a deletion names must be new itself, or not deleted before but by others its author did not know of. */
function checkNamed(check: PositionCheck, sequence: Sequence, change: LoroChange, op: LoroOperation): void {
  const { doc, spans, gone } = check;
  const first = parseId(op.content.start_id ?? "");
  const ids = sampled(lengthOf(op.content)).map((offset) => ({ ...first, counter: first.counter + offset }));
  const expected = gone.get(op.container) ?? [];
  gone.set(op.container, expected);
  for (const id of ids) {
    if (isNew(spans, id)) sequence.ownDeleted = true;
    else if (check.history().hasDeleted(id)) {
      change.deletedSince ??= check.linear ? [] : deletedSince(doc, change);
      const isNamed = change.deletedSince.some(
        ({ peer, start, end }) => peer === id.peer && id.counter >= start && id.counter < end,
      );
      if (!isNamed) throw misplaced(op);
    }
    if (expected.length < maxGone) expected.push(id);
    else if (Math.random() < 0.5) expected[Math.floor(Math.random() * maxGone)] = id;
  }
}

/** What was deleted by operations that a change was not made after. */
function deletedSince(doc: LoroDoc, change: LoroChange): NonNullable<LoroChange["deletedSince"]> {
  const known = withHandle(doc.frontiersToVV(change.deps), (version) => version.toJSON());
  const named: NonNullable<LoroChange["deletedSince"]> = [];
  for (const [peer, end] of withHandle(doc.oplogVersion(), (version) => version.toJSON())) {
    for (const { ops } of readOperations(doc, peer, known.get(peer) ?? 0, end)) {
      for (const { content } of ops) {
        if (content.type !== "delete" || content.start_id === undefined) continue;
        const first = parseId(content.start_id);
        named.push({ peer: first.peer, start: first.counter, end: first.counter + lengthOf(content) });
      }
    }
  }
  return named;
}

/** Whether the changes were made on the document just as it was, one after another. */
function isLinear(doc: LoroDoc, [first, ...rest]: readonly LoroChange[], spans: Spans): boolean {
  if (!first || spans.size !== 1) return false;
  const follows = ({ peer, start, deps }: LoroChange) =>
    deps.length === 1 && deps[0]?.peer === peer && deps[0].counter === start - 1;
  return rest.every(follows) && withHandle(doc.frontiersToVV(first.deps), (past) => isVersionOf(doc, past));
}

function isVersionOf(doc: LoroDoc, version: VersionVector): boolean {
  return withHandle(doc.version(), (state) => state.compare(version) === 0);
}

/** No insertion may reach beyond the end of the sequence as its author may have had it, were everything there that is not shown. */
function checkBounds(
  check: PositionCheck,
  container: ContainerID,
  { before, pieces, ops, ownDeleted }: Sequence,
): void {
  const shown = before?.length ?? 0;
  if (pieces || !ownDeleted || !firstBeyond(ops, shown)) return;
  const deleted = check.linear ? 0 : deletedIn(check.doc, container);
  const beyond = firstBeyond(ops, shown + check.history().marksIn(container) + deleted);
  if (beyond) throw misplaced(beyond);
}

/** What other peers insert may all have been there before: their operations are in no order to those of this one. */
function firstBeyond(ops: readonly AuthoredOperation[], before: number): LoroOperation | undefined {
  const inserted = new Map<PeerID, number>();
  let all = 0;
  for (const { peer, content } of ops) {
    if (content.type === "delete") continue;
    inserted.set(peer, (inserted.get(peer) ?? 0) + lengthOf(content));
    all += lengthOf(content);
  }
  const changed = new Map<PeerID, number>();
  return ops.find(({ peer, content }) => {
    const own = changed.get(peer) ?? 0;
    const length = before + all - (inserted.get(peer) ?? 0) + own;
    if (content.type === "insert" && (content.pos ?? 0) > length) return true;
    changed.set(peer, own + (content.type === "delete" ? -lengthOf(content) : lengthOf(content)));
    return false;
  });
}

/** How much was ever deleted in a container, or more. Goes through the whole history. */
function deletedIn(doc: LoroDoc, container: ContainerID): number {
  let sum = 0;
  for (const [peer, end] of withHandle(doc.oplogVersion(), (version) => version.toJSON())) {
    for (const { ops } of readOperations(doc, peer, 0, end)) {
      for (const op of ops) if (op.container === container && op.content.type === "delete") sum += lengthOf(op.content);
    }
  }
  return sum;
}

function misplaced({ counter, container }: LoroOperation) {
  return refused(`it does not hold together: operation ${counter} names places in ${container} that are not there`);
}
