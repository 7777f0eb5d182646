import { LoroDoc, type PeerID, type VersionVector } from "loro-crdt";
import type { CachedDocument, Fork } from "../cache.js";
import { changedFields } from "../changed-fields.js";
import { blobSpans, knownPart, type Spans } from "../format/spans.js";
import { withHandle } from "../handles.js";
import { showLater } from "../merge.js";
import { project } from "../projection.js";
import { peerTaken } from "../refusals.js";
import type { FieldPatch } from "../values.js";
import { readOperations, unreadableInteger } from "./oplog.js";

/** Beyond this many operations that came a second time, only those up to here are compared one by one. */
const maxCompared = 5_000;

/**
 * Whether what an update holds and the document has already is the same in both. Two writers who use one peer id give different
 * operations the same name; Loro takes the second for known, and drops it without a word, or goes on from there and diverges.
 * Costs nothing but for updates that do hold known operations. Changes nothing in the document.
 * Out: the peer of which they differ, if any.
 */
export function reusedPeer(doc: LoroDoc, version: VersionVector, blob: Uint8Array, spans: Spans): PeerID | undefined {
  const known = knownPart(spans, version);
  if (known.size === 0 || isOwnExport(doc, blob, spans)) return undefined;
  return withHandle(withoutKnown(doc, version, known), (theirs) => {
    theirs.import(blob);
    return [...known].find(([peer, { start, end }]) => !sameOperations(doc, theirs, peer, start, end))?.[0];
  });
}

/** What an author changed, as a patch of a version of the document. */
export interface Apart extends Fork {
  readonly patch: FieldPatch[];
}

/**
 * An update whose author finds other operations under the names of their own: what it changes, told from the document before and after
 * as its author saw it. So their words can be kept under other names; what they were made of cannot, since everybody knows those
 * names as something else. Errors: PE422 when what it was made on is not here, or it brings more than its author's own.
 */
export function keepApart(
  { doc, schema, forks }: CachedDocument,
  version: VersionVector,
  blob: Uint8Array,
  peer: PeerID,
): Apart {
  const spans = blobSpans(blob);
  const span = spans.get(peer);
  if (!span || spans.size > 1) throw peerTaken(peer);
  const fork = forks.get(peer);
  const taken = version.get(peer) ?? 0;
  const known: Spans = fork ? new Map([[peer, { start: fork.start, end: taken }]]) : knownPart(spans, version);
  const blobs = [...(fork?.blobs ?? []), blob];
  return withHandle(withoutKnown(doc, version, known), (theirs) => {
    for (const one of blobs) theirs.import(one);
    // A third one with the same names: whose words they are cannot be told any more, and nothing is known that was not compared.
    if (fork && span.start < fork.end) {
      const isSame = withHandle(withoutKnown(doc, version, known), (latest) => {
        // Of two under one name Loro takes the first.
        for (const one of [blob, ...fork.blobs]) latest.import(one);
        return sameOperations(theirs, latest, peer, span.start, Math.min(span.end, fork.end));
      });
      if (!isSame) throw peerTaken(peer);
    }
    const first = fork?.end ?? firstDifference(doc, theirs, peer, span.start, Math.min(span.end, taken));
    const start = fork?.start ?? first;
    const [own] = readOperations(theirs, peer, first, span.end);
    // All of it came before.
    if (!own) return { start, end: first, blobs: fork?.blobs ?? [], base: fork?.base ?? new Map(), patch: [] };
    const base = withHandle(theirs.frontiersToVV(own.deps), (past) => past.toJSON());
    if (fork) {
      base.set(peer, start);
      for (const [other, end] of fork.base) base.set(other, Math.max(end, base.get(other) ?? 0));
    }
    for (const [other, end] of base) if (end > (version.get(other) ?? 0)) throw peerTaken(peer);
    showLater(theirs, [], own.deps);
    const before = project(theirs, schema.fields);
    showLater(theirs, own.deps, [{ peer, counter: span.end - 1 }]);
    const after = project(theirs, schema.fields);
    return { start, end: span.end, blobs, base, patch: changedFields(schema.fields, before, after) };
  });
}

/** The first of these that is not the same in both. */
function firstDifference(ours: LoroDoc, theirs: LoroDoc, peer: PeerID, start: number, end: number): number {
  let [same, different] = [start, end];
  while (same < different) {
    const middle = (same + different) >> 1;
    if (sameOperations(ours, theirs, peer, start, middle + 1)) same = middle + 1;
    else different = middle;
  }
  return same;
}

/** The usual repetition: an update sent again just as it was. */
function isOwnExport(doc: LoroDoc, blob: Uint8Array, spans: Spans): boolean {
  const own = doc.export({
    mode: "updates-in-range",
    spans: [...spans].map(([peer, { start, end }]) => ({ id: { peer, counter: start }, len: end - start })),
  });
  return own.length === blob.length && own.every((byte, index) => byte === blob[index]);
}

/** A copy that lacks the operations in question, to see what the update makes of them. What builds on them waits there unused. */
function withoutKnown(doc: LoroDoc, version: VersionVector, known: Spans): LoroDoc {
  const copy = new LoroDoc();
  // The comparison is of operations: no need to work out what they amount to.
  copy.detach();
  const spans = [...version.toJSON()].map(([peer, end]) => ({
    id: { peer, counter: 0 },
    len: known.get(peer)?.start ?? end,
  }));
  copy.import(doc.export({ mode: "updates-in-range", spans: spans.filter(({ len }) => len > 0) }));
  return copy;
}

function sameOperations(ours: LoroDoc, theirs: LoroDoc, peer: PeerID, start: number, end: number): boolean {
  const read = (doc: LoroDoc, from: number, length: number) => {
    try {
      return JSON.stringify(doc.exportJsonInIdSpan({ peer, counter: from, length }), sorted);
    } catch (error) {
      if (unreadableInteger(error) === undefined) throw error;
      // For an integer beyond 2^53 among them. Written as bytes it is the same in both, too.
      const bytes = doc.export({ mode: "updates-in-range", spans: [{ id: { peer, counter: from }, len: length }] });
      return Buffer.from(bytes).toString("latin1");
    }
  };
  if (read(ours, start, end - start) === read(theirs, start, end - start)) return true;
  // Cut into changes differently, perhaps.
  for (let counter = start; counter < Math.min(end, start + maxCompared); counter++) {
    const [mine, other] = [read(ours, counter, 1), read(theirs, counter, 1)];
    // Still waiting for what it was made after: nothing can be said of it.
    if (other === "[]") return true;
    if (mine !== other) return false;
  }
  return true;
}

/**
 * A replacer for JSON.stringify: Loro gives the keys of an object inside an operation in any order, and the length of one deleted
 * item as minus one when it is taken out of a run of deletions backwards.
 */
function sorted(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  if ("type" in value && value.type === "delete" && "len" in value && value.len === -1)
    return sorted(_, { ...value, len: 1 });
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
