import { LoroDoc, type PeerID, type VersionVector } from "loro-crdt";
import { withHandle } from "./handles.js";
import { refused } from "./refusals.js";
import { knownPart, type Spans } from "./spans.js";

/** Beyond this many operations that came a second time, only those up to here are compared one by one. */
const maxCompared = 5_000;

/**
 * Whether what an update holds and the document has already is the same in both. Two writers who use one peer id give different
 * operations the same name; Loro takes the second for known, and drops it without a word, or goes on from there and diverges.
 * Costs nothing but for updates that do hold known operations. Changes nothing in the document.
 * Errors: PE422 naming the peer.
 */
export function checkReuse(doc: LoroDoc, version: VersionVector, blob: Uint8Array, spans: Spans): void {
  const known = knownPart(spans, version);
  if (known.size === 0 || isOwnExport(doc, blob, spans)) return;
  const reused = withHandle(withoutKnown(doc, version, known), (theirs) => {
    theirs.import(blob);
    return [...known].find(([peer, { start, end }]) => !sameOperations(doc, theirs, peer, start, end))?.[0];
  });
  if (reused !== undefined) throw refused(`peer id ${reused} is used by another writer already`, { peer: reused });
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
  const read = (doc: LoroDoc, from: number, length: number) =>
    JSON.stringify(doc.exportJsonInIdSpan({ peer, counter: from, length }), sorted);
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
