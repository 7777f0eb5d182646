import "./bound-memory.js";
import { workerData } from "node:worker_threads";
import * as loro from "loro-crdt";
import { LoroDoc, type PeerID, type VersionVector } from "loro-crdt";
import { serve, transferring } from "../../engine/thread.js";
import { PerchError } from "../../errors.js";
import { serverPeer } from "../server-peers.js";
import type { DocumentThreadApi, Ends, EngineImportOptions, PatchBase, ServerPeer, WriteOptions } from "./api.js";
import { type CachedDocument, createCache } from "./cache.js";
import { takeInChecked } from "./checks/check.js";
import { createHistory } from "./checks/history.js";
import { keepApart, reusedPeer } from "./checks/reuse.js";
import { weigh } from "./checks/weigh.js";
import { projectAt, revertTo } from "./earlier-versions.js";
import { type DocumentSchema, isScalar, scalarRoot } from "./fields.js";
import { checkEnvelope, joinUpdates, modeOf } from "./format/envelope.js";
import { addSpan, blobPeers, blobSpans, countNew, extentOf, type Spans } from "./format/spans.js";
import { maxTypedBytes } from "./format/typing.js";
import { withHandle } from "./handles.js";
import { parseExact } from "./json.js";
import { declaredRoots } from "./layout.js";
import type { DocumentLimits } from "./limits.js";
import { mergeAll, operationsOf, takeInOneByOne } from "./merge.js";
import { applyPatch } from "./patch.js";
import { project } from "./projection.js";
import { changesAtHead, isClosed, isCrowded, isInTurn, overruling, unseenBase } from "./rebase.js";
import { lateForIncarnation, missingBase, peerTaken, refused, tooLarge } from "./refusals.js";
import { touchedFields } from "./touched-fields.js";
import { checkPatch, type FieldPatch } from "./values.js";
import { atVersion, decodeVersion, earlierVersion, encodedVersion } from "./version.js";

const limits = workerData as DocumentLimits;
const cache = createCache(limits);

function load(
  id: string,
  schema: DocumentSchema,
  snapshot: Uint8Array | null,
  updates: readonly Uint8Array[],
  ended: Ends = {},
  shownBytes = 0,
) {
  cache.drop(id);
  const doc = decoding(() => {
    const loaded = snapshot === null ? new LoroDoc() : LoroDoc.fromSnapshot(snapshot);
    const operations = updates.map(asOperations);
    warmUp(loaded);
    mergeAll(loaded, operations, extentOf(operations));
    return loaded;
  });
  const storedBytes = snapshot?.length ?? 0;
  cache.put(id, {
    doc,
    schema,
    roots: declaredRoots(schema.fields),
    history: createHistory(doc),
    ended: new Set(Object.keys(ended)),
    forks: new Map(),
    forkBytes: 0,
    blobBytes: storedBytes + totalLength(updates),
    storedBytes,
    shownBytes: 0,
    added: shownBytes,
  });
  return { version: encodedVersion(doc) };
}

/**
 * Of a document of many changes Loro works out, once, which of them was made after which: seconds where there are a hundred thousand. That is
 * part of loading, which may take long; otherwise somebody's keystroke would pay for it, and be taken for what is wrong.
 */
function warmUp(doc: LoroDoc): void {
  for (const last of doc.oplogFrontiers()) doc.frontiersToVV(doc.getChangeAt(last).deps).free();
}

function importUpdates(id: string, given: readonly Uint8Array[], { foreign = [], own = [] }: EngineImportOptions = {}) {
  const held = cache.get(id);
  const { doc } = held;
  for (const update of given) checkEnvelope(update, limits.updateBytes);
  const updates = decoding(() => given.map(asOperations));
  checkIncarnation(held.ended, updates);
  const reused = decoding(() => inspect(held, updates, new Set(foreign), own));
  checkSize(held, totalLength(updates));
  if (reused !== undefined) {
    if (!own.includes(reused)) throw refused(`peer id ${reused} is used by another writer already`, { peer: reused });
    return importApart(id, held, joinUpdates(updates), reused);
  }
  const { stored, ...result } = orDrop(id, () => {
    const spans = takeInChecked(held, updates, limits);
    // What its headers did not say.
    for (const peer of foreign) if (spans.has(peer as PeerID)) throw peerTaken(peer);
    checkShown(held);
    cache.grow(id, totalLength(updates));
    const stored = asStored(doc, spans, given);
    return { changed: spans.size > 0, ends: endsOf(spans), version: encodedVersion(doc), room: roomIn(held), stored };
  });
  return transferring({ ...result, updates: stored, forked: false }, stored ?? []);
}

/** What is new, as Loro writes it; null where that is what came: others are not given what a header claims, and no repetition. */
function asStored(doc: LoroDoc, spans: Spans, given: readonly Uint8Array[]): Uint8Array[] | null {
  if (spans.size === 0 || given.every((update) => isAsMade(doc, spans, update))) return null;
  return [exportSpans(doc, spans)];
}

function isAsMade(doc: LoroDoc, spans: Spans, update: Uint8Array): boolean {
  if (modeOf(update) === "snapshot") return false;
  const own = blobSpans(update);
  for (const [peer, { start, end }] of own) {
    const made = spans.get(peer);
    if (!made || start < made.start || end > made.end) return false;
  }
  return Buffer.compare(exportSpans(doc, own), update) === 0;
}

function exportSpans(doc: LoroDoc, spans: Spans): Uint8Array {
  return doc.export({
    mode: "updates-in-range",
    spans: [...spans].map(([peer, { start, end }]) => ({ id: { peer, counter: start }, len: end - start })),
  });
}

/**
 * What is kept of authors who write under names that others had taken. It is concurrent with all that the document got since, and Loro's time to
 * merge a text with others' typing goes by the square of its length: a second for this much, twelve for a million characters, and again for
 * every letter that follows.
 */
const maxForkBytes = 256 * 1024;

/** See `keepApart`. */
function importApart(id: string, held: CachedDocument, update: Uint8Array, peer: PeerID) {
  const { doc } = held;
  // All of it is kept, and read again with each that follows: no more than a document may have.
  const kept = held.forkBytes + update.length;
  if (kept > maxForkBytes) throw tooLarge("fork_bytes", maxForkBytes, kept, { table: held.schema.table });
  if (kept > limits.documentBytes)
    throw tooLarge("document_bytes", limits.documentBytes, kept, { table: held.schema.table });
  const { patch, ...fork } = decoding(() =>
    withHandle(doc.oplogVersion(), (version) => keepApart(held, version, update, peer)),
  );
  const { update: made, ends } = write(
    id,
    { ends: Object.fromEntries(fork.base) },
    { peers: [], alwaysThere: true },
    (at) => applyPatch(at, patch, limits),
  );
  const base = new Map([...fork.base, ...(Object.entries(ends) as [PeerID, number][])]);
  cache.fork(id, peer, { ...fork, base });
  const updates = made ? [made] : null;
  return transferring(
    { changed: made !== null, ends, version: encodedVersion(doc), room: 0, updates, forked: true },
    updates ?? [],
  );
}

function importRun(id: string, appends: readonly (readonly Uint8Array[])[]) {
  const held = cache.get(id);
  const updates = appends.flat();
  for (const update of updates) checkEnvelope(update, limits.updateBytes);
  const unfit = { ends: null, updates: [], room: 0 };
  if (held.forks.size > 0 || updates.some((update) => modeOf(update) === "snapshot")) return unfit;
  checkIncarnation(held.ended, updates);
  const runs = withHandle(held.doc.oplogVersion(), (version) => continuing(version, appends));
  if (!runs) return unfit;
  checkSize(held, totalLength(updates));
  const result = orDrop(id, () => {
    const spans = takeInChecked(held, updates, limits, takeInOneByOne);
    checkShown(held);
    // Each append is stored by what its headers say, so they must not say anything else than Loro found.
    const last = new Map(runs.flatMap((run) => [...run]));
    if (spans.size !== last.size || [...spans].some(([peer, { end }]) => last.get(peer)?.end !== end))
      throw refused("its headers do not say what it holds");
    cache.grow(id, totalLength(updates));
    const stored = runs.map((run, index) => asStored(held.doc, run, appends[index] ?? []));
    return { ends: runs.map(endsOf), updates: stored, room: roomIn(held) };
  });
  const made = result.updates.flatMap((stored) => stored ?? []);
  return transferring(result, made);
}

function importChecked(id: string, given: readonly Uint8Array[], { show = false }: { show?: boolean } = {}) {
  const held = cache.get(id);
  return orDrop(id, () => {
    const updates = given.map(asOperations);
    mergeAll(held.doc, updates, extentOf(updates));
    held.added += totalLength(updates);
    cache.grow(id, totalLength(updates));
    const touched = show ? touchedFields(held.doc, held.schema.fields, updates) : undefined;
    return { data: touched === undefined ? null : project(held.doc, touched) };
  });
}

/** None where a keystroke could be over a limit by itself. */
function roomIn({ blobBytes }: CachedDocument): number {
  if (Math.min(limits.updateBytes, limits.updateOps) < maxTypedBytes) return 0;
  return Math.max(0, limits.documentBytes - blobBytes);
}

/** What each append adds; undefined when one repeats, overlaps, leaves out or is too much: that takes a closer look. */
function continuing(version: VersionVector, appends: readonly (readonly Uint8Array[])[]): Spans[] | undefined {
  const known = new Map<PeerID, number>();
  const runs: Spans[] = [];
  for (const updates of appends) {
    const run: Spans = new Map();
    for (const update of updates) {
      const spans = decoding(() => blobSpans(update));
      for (const [peer, { start, end }] of spans) {
        if (start !== (known.get(peer) ?? version.get(peer) ?? 0)) return undefined;
        if (end <= start || end - start > limits.updateOps) return undefined;
        known.set(peer, end);
        addSpan(run, peer, start, end);
      }
    }
    runs.push(run);
  }
  return runs;
}

function unpack(given: readonly Uint8Array[]) {
  for (const update of given) checkEnvelope(update, limits.updateBytes);
  const updates = decoding(() => given.map(asOperations));
  for (const update of updates) checkUnpacked(update);
  return transferring({ updates }, updates);
}

/** A snapshot unpacks to more than it was. */
function checkUnpacked(update: Uint8Array): void {
  if (update.length > limits.updateBytes) throw tooLarge("update_bytes", limits.updateBytes, update.length);
}

function asOperations(blob: Uint8Array): Uint8Array {
  return modeOf(blob) === "snapshot" ? operationsOf(blob) : blob;
}

/**
 * What came in small pieces is stored in a fraction of their bytes, once it is folded. So the size is measured when the pieces are
 * over the limit, and again when they have grown by a sixteenth of it: a document may be that much larger, and is measured rarely.
 */
function checkSize(held: CachedDocument, added: number): void {
  const max = limits.documentBytes;
  if (held.blobBytes + added <= max) return;
  if (held.blobBytes - held.storedBytes > max / 16) cache.measured(held, held.doc.export({ mode: "snapshot" }).length);
  const got = held.blobBytes + added;
  if (got > max) throw tooLarge("document_bytes", max, got, { table: held.schema.table });
}

/**
 * What cannot be shown as JSON could not be projected, read or patched any more. As above: weighed when what was written may have led over
 * the limit, and again when a sixteenth of it was written since.
 */
function checkShown(held: CachedDocument): void {
  const max = limits.projectedBytes;
  if (held.shownBytes + held.added <= max || held.added <= max / 16) return;
  held.shownBytes = weigh(project(held.doc, held.schema.fields)).bytes;
  held.added = 0;
  if (held.shownBytes > max) throw tooLarge("projected_bytes", max, held.shownBytes, { table: held.schema.table });
}

/**
 * Nothing of an earlier incarnation comes back: neither operations that were deleted with it, nor later ones of its writers, nor of
 * others on top of them. All of these name one of its peers, and no honest operation of this incarnation does.
 */
function checkIncarnation(ended: ReadonlySet<string>, updates: readonly Uint8Array[]): void {
  if (ended.size === 0) return;
  for (const update of updates) {
    for (const peer of blobPeers(update)) if (ended.has(peer)) throw lateForIncarnation(peer);
  }
}

/** What can be told of updates before the document is touched. Out: a peer under which they hold other operations than it has. */
function inspect(
  { doc, forks }: CachedDocument,
  updates: readonly Uint8Array[],
  foreign: ReadonlySet<string>,
  own: readonly string[],
): PeerID | undefined {
  return withHandle(doc.oplogVersion(), (version) => {
    let reused: PeerID | undefined;
    for (const update of updates) {
      checkUnpacked(update);
      const spans = blobSpans(update);
      for (const [peer, { start, end }] of spans) {
        if (foreign.has(peer) && end > (version.get(peer) ?? 0)) throw peerTaken(peer);
        // The owner's next copy has a peer of its own: this is of the one that went another way.
        if (forks.has(peer) && own.includes(peer) && end > (version.get(peer) ?? 0)) reused ??= peer;
        else if (updates.length === 1 && start > (version.get(peer) ?? 0)) throw missingBase(peer);
      }
      const added = countNew(spans, version);
      if (added > limits.updateOps) throw tooLarge("update_ops", limits.updateOps, added);
      if (reused === undefined) reused = reusedPeer(doc, version, update, spans);
    }
    return reused;
  });
}

/** From so many changes on a document is given whole as a snapshot, which is larger than its updates while they are few. */
const manyChanges = 1_000;

function exportFrom(id: string, version: Uint8Array) {
  const { doc } = cache.get(id);
  const updates = withHandle(decodeVersion(version), (theirs) => {
    const order = withHandle(doc.oplogVersion(), (ours) => ours.compare(theirs));
    if (order === 0 || order === -1) return [];
    // Importing many changes takes a client time by their number times that of the peers; a snapshot it takes as it is.
    if (theirs.length() === 0 && doc.changeCount() > manyChanges) return [doc.export({ mode: "snapshot" })];
    return [doc.export({ mode: "update", from: theirs })];
  });
  return transferring({ updates, version: encodedVersion(doc) }, updates);
}

function snapshot(id: string) {
  const { doc } = cache.get(id);
  const bytes = doc.export({ mode: "snapshot" });
  return transferring({ snapshot: bytes, version: encodedVersion(doc) }, [bytes]);
}

function patch(
  id: string,
  value: string | object,
  base: PatchBase,
  { show = false, peers = [] }: WriteOptions & { show?: boolean } = {},
) {
  const { doc, schema } = cache.get(id);
  const checked = checkPatch(schema, typeof value === "string" ? parsePatch(value) : value, limits);
  const scalars = checked.filter(({ kind }) => isScalar(kind));
  const written = write(id, base, { peers, scalars }, (at, held) => {
    applyPatch(at, checked, limits);
    makeAtLeast(at);
    for (const { value } of checked) held.added += weigh(value).bytes;
  });
  const fields = Object.fromEntries(checked.map(({ name, kind }) => [name, kind]));
  return { ...written, data: show ? project(doc, fields) : null };
}

/**
 * A document is what there are operations of. So a patch that leaves all fields of a new one null deletes a key that no field can have:
 * an operation that changes nothing, that is in nobody's way, and that no check of updates minds.
 */
function makeAtLeast(doc: LoroDoc): void {
  doc.commit();
  if (doc.opCount() === 0) withHandle(doc.getMap(scalarRoot), (scalars) => scalars.delete(""));
}

function revert(id: string, ends: Ends, { peers = [] }: WriteOptions = {}) {
  return write(id, "head", { peers }, (_, held) => revertTo(held, ends, limits));
}

interface Seen {
  /** Undefined for the head. */
  readonly version: VersionVector | undefined;
  /** Peers of perch's own of which the patch's author knew more than is in that version; see rebase.ts. */
  readonly overruled: ReadonlySet<string>;
}

const none: ReadonlySet<string> = new Set();

/** What `base` names. Errors: PE410 when nobody can have seen it; PE422 when the document never had it. */
function seenBy(doc: LoroDoc, head: VersionVector, base: PatchBase): Seen {
  const version = earlierVersion(head, base);
  if (version === undefined || isClosed(doc, version)) return { version, overruled: none };
  version.free();
  if (typeof base !== "object" || !("ends" in base) || !base.orElse) throw unseenBase();
  const { ends, orElse } = base;
  const overruled = Object.keys(ends).filter((peer) => (ends[peer] ?? 0) > (orElse[peer] ?? 0));
  return { version: earlierVersion(head, { ends: orElse }), overruled: new Set(overruled) };
}

interface Writing {
  readonly peers: readonly ServerPeer[];
  /** At that version and nowhere else, whatever peers it takes; see rebase.ts. */
  readonly alwaysThere?: boolean;
  /** Of what `edit` sets, the scalars. */
  readonly scalars?: readonly FieldPatch[];
}

/** New operations at a version of the document, under one of `peers` that may write there, else under a new one: as an update. */
function write(
  id: string,
  base: PatchBase,
  { peers, alwaysThere = false, scalars = [] }: Writing,
  edit: (doc: LoroDoc, held: CachedDocument) => void,
) {
  const held = cache.get(id);
  const { doc } = held;
  checkSize(held, 0);
  const head = doc.oplogVersion();
  const seen = seenBy(doc, head, base);
  let { version } = seen;
  return orDrop(id, () => {
    let editing = (at: LoroDoc) => edit(at, held);
    // See server-peers.ts. The version is part of what the document has: where it has all of a peer's, it has all there is.
    const isWhole = ({ peer, end }: ServerPeer, known: VersionVector) => known.get(peer as PeerID) === end;
    const usable = () => peers.find((one) => isWhole(one, head) && (version === undefined || isWhole(one, version)));
    let known = usable();
    let fresh = randomPeer();
    while (head.get(fresh) !== undefined) fresh = randomPeer();
    const isAside = seen.overruled.size > 0 || (known === undefined && !isInTurn(base) && isCrowded(head));
    if (version !== undefined && isAside && !alwaysThere) {
      const changes = changesAtHead(held, version, fresh, editing);
      changes.push(...overruling(doc, scalars, changes, seen.overruled));
      version.free();
      version = undefined;
      editing = (at) => applyPatch(at, changes, limits);
      known = usable();
    }
    head.free();
    const peer = (known?.peer as PeerID | undefined) ?? fresh;
    const start = known?.end ?? 0;
    atVersion(doc, version, () => {
      doc.setPeerId(peer);
      editing(doc);
      doc.commit();
    });
    version?.free();
    checkShown(held);
    // Nobody builds on the writer's last operation yet, so it is one of the document's frontiers.
    const end = (doc.oplogFrontiers().find((operation) => operation.peer === peer)?.counter ?? -1) + 1;
    if (end <= start) return { update: null, ends: {} };
    const update = doc.export({
      mode: "updates-in-range",
      spans: [{ id: { peer, counter: start }, len: end - start }],
    });
    cache.grow(id, update.length);
    return { update, ends: { [peer]: end } };
  });
}

function endsOf(spans: Spans): Ends {
  return Object.fromEntries([...spans].map(([peer, { end }]) => [peer, end]));
}

function totalLength(blobs: readonly Uint8Array[]): number {
  return blobs.reduce((sum, blob) => sum + blob.length, 0);
}

function parsePatch(text: string): unknown {
  try {
    return parseExact(text);
  } catch (error) {
    throw new PerchError("PE422", `the patch is not JSON: ${String(error)}`, { reason: String(error) });
  }
}

/** Drawn by the hundred: each draw is a call into the system. */
let peers = new BigUint64Array(0);

function randomPeer(): PeerID {
  if (peers.length === 0) peers = crypto.getRandomValues(new BigUint64Array(128));
  const [random = 0n] = peers;
  peers = peers.subarray(1);
  return serverPeer(random) as PeerID;
}

/** After any failure the replica held may contain half of something: it goes, and the caller loads it again. */
function orDrop<Result>(id: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (isTrap(error)) throw error;
    cache.drop(id);
    const known = error instanceof PerchError ? error : refused(String(error));
    throw new PerchError(
      known.code,
      known.message,
      { ...(known.detail as object | null), dropped: true },
      { cause: error },
    );
  }
}

/** Loro throws plain strings at bytes it cannot read. */
function decoding<Result>(work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error) throw error;
    throw refused(String(error));
  }
}

/** Besides WASM traps: what the binding says of a module whose memory is no longer in order. */
function isTrap(error: unknown): boolean {
  if (!(error instanceof Error) || error instanceof PerchError) return false;
  if (error.name === "RuntimeError" || error instanceof RangeError) return true;
  return /recursive use of an object|null pointer passed to rust|unreachable|out of bounds/.test(error.message);
}

/** Whose they are is asked one by one, by the process's own thread and the database. Sixteen bytes name one. */
const maxPeersOfUpdate = 20_000;

function peersOf(updates: readonly Uint8Array[]): string[] {
  const peers = new Set(updates.flatMap((update) => [...blobSpans(update).keys()]));
  if (peers.size > maxPeersOfUpdate) throw tooLarge("update_peers", maxPeersOfUpdate, peers.size);
  return [...peers];
}

const { memory } = (loro as unknown as { __wasm: { memory: { buffer: ArrayBuffer } } }).__wasm;

serve<DocumentThreadApi>(
  {
    load,
    has: (id) => cache.has(id),
    unpack,
    peers: (updates) => ({ peers: peersOf(updates.map(asOperations)) }),
    import: importUpdates,
    importRun,
    importChecked,
    exportFrom,
    snapshot,
    project: (id) => {
      const { doc, schema } = cache.get(id);
      return { data: project(doc, schema.fields) };
    },
    patch,
    projectAt: (id, ends) => ({ data: decoding(() => projectAt(cache.get(id), ends)) }),
    revert,
    drop: (id) => cache.drop(id),
    stats: () => cache.stats(),
  },
  { memory: () => ({ held: memory.buffer.byteLength, needed: cache.stats().estimatedBytes }), isTrap },
);
