import { type ImportStatus, LoroDoc, type OpId, type PeerID, VersionVector } from "loro-crdt";
import { joinUpdates } from "./format/envelope.js";
import { addSpan, type Extent, type Spans } from "./format/spans.js";
import { withHandle } from "./handles.js";
import { missingBase, refused } from "./refusals.js";

/** More than this many updates are cheaper in one batch, fewer one by one. */
const fewUpdates = 16;
/** What is copied to import many as one. */
const maxJoinedBytes = 4 * 2 ** 20;
/** A history of so many changes is long: Loro merges those of one peer that follow each other, so it is the writing of several in turns. */
const manyChanges = 1_000;
/** More operations than this at once are taken in by steps of about half as many. */
const manyOperations = 40_000;
/**
 * Operations of more peers than this are taken in first, and shown then. Either way Loro's time is by the square of the peers, but of ten
 * thousand who set one field it is 3 s, and not 13: no more than it was when the operations came and were checked.
 */
const manyPeers = 500;

/**
 * Imports updates that were checked when they came, each after those it builds on. In: how many operations are in them, about.
 * Errors: PE422 when one builds on operations that neither the document nor the others have; strings of Loro's.
 */
export function mergeAll(doc: LoroDoc, updates: readonly Uint8Array[], { operations, peers }: Extent): void {
  let rest = updates;
  const isLarge = operations > manyOperations || peers > manyPeers;
  if (isLarge) {
    const [first] = updates;
    // An empty document is filled directly, however much it is.
    if (first && doc.opCount() === 0 && peers <= manyPeers) {
      doc.import(first);
      rest = updates.slice(1);
    }
    doc.detach();
  }
  const before = isLarge ? versionOf(doc) : undefined;
  // See `Taken`: the document is shown at each of them.
  const inSteps = rest.length <= fewUpdates && doc.changeCount() > manyChanges;
  const pieces = inSteps ? rest.map((update) => [update]) : inPieces(rest);
  const results = pieces.map((piece) => doc.import(joinUpdates(piece)));
  checkComplete(doc, results);
  if (before) bringUp(doc, before, { spans: successOf(results), steps: [] });
}

/** In the same order. */
function inPieces(updates: readonly Uint8Array[]): Uint8Array[][] {
  const pieces: Uint8Array[][] = [];
  let bytes = maxJoinedBytes;
  for (const update of updates) {
    bytes += update.length;
    if (bytes > maxJoinedBytes) {
      pieces.push([]);
      bytes = update.length;
    }
    pieces.at(-1)?.push(update);
  }
  return pieces;
}

/** Operations that a document has, and does not show yet where it is detached. */
export interface Taken {
  /** Those that were new. */
  readonly spans: Spans;
  /**
   * Versions on the way, by which it is brought up to date. Over the changes of several peers at once Loro goes through all of the history, to
   * find where two versions part: with 20,000 changes 70 ms instead of half of one.
   */
  readonly steps: readonly (readonly OpId[])[];
}

/** Imports updates. */
export function takeIn(doc: LoroDoc, updates: readonly Uint8Array[]): Taken {
  if (updates.length > fewUpdates) {
    const results = [doc.importBatch([...updates])];
    checkComplete(doc, results);
    return { spans: successOf(results), steps: [] };
  }
  const steps: OpId[][] = [];
  const results = updates.map((update) => {
    const status = doc.import(update);
    if (updates.length > 1) steps.push(doc.oplogFrontiers());
    return status;
  });
  checkComplete(doc, results);
  const spans = successOf(results);
  return { spans, steps: spans.size > 1 ? steps : [] };
}

/** The same of updates none of which may build on a later one: each must be complete by itself. */
export function takeInOneByOne(doc: LoroDoc, updates: readonly Uint8Array[]): Taken {
  const results = updates.map((update) => {
    const status = doc.import(update);
    if (status.pending) checkComplete(doc, [status]);
    return status;
  });
  return { spans: successOf(results), steps: [] };
}

function successOf(results: readonly ImportStatus[]): Spans {
  const spans: Spans = new Map();
  for (const { success } of results) for (const [peer, { start, end }] of success) addSpan(spans, peer, start, end);
  return spans;
}

type PeerEnds = Map<PeerID, number>;

export function versionOf(doc: LoroDoc): PeerEnds {
  return withHandle(doc.version(), (version) => version.toJSON());
}

/** Accepted without a word, an update without its base would be in no export and no snapshot: answered "ok", then lost. */
function checkComplete(doc: LoroDoc, results: readonly ImportStatus[]): void {
  const waiting = results.flatMap(({ pending }) => [...(pending ?? [])]);
  if (waiting.length === 0) return;
  withHandle(doc.oplogVersion(), (version) => {
    for (const [peer, { end }] of waiting) {
      if ((version.get(peer) ?? 0) < end) throw missingBase(peer);
    }
  });
}

/**
 * The operations of a snapshot as an updates blob. A snapshot also holds the state they lead to, which Loro believes when it fills an
 * empty document, and passes over otherwise: forged, it would make a different document of the same bytes in every place.
 * Errors: PE422 for one without its history; strings of Loro's.
 */
export function operationsOf(snapshot: Uint8Array): Uint8Array {
  return withHandle(new LoroDoc(), (doc) => {
    doc.import(snapshot);
    // It would leave everybody whose history begins earlier stranded, without an error on either side.
    if (doc.isShallow()) throw refused("it is a snapshot without its history");
    return doc.export({ mode: "update" });
  });
}

/** Moves a detached document to its latest version, from the version `at`, and attaches it. */
export function bringUp(doc: LoroDoc, at: PeerEnds, { spans, steps }: Taken): void {
  const inSteps = leadOn(doc, at, spans);
  if (!inSteps) for (const step of steps.slice(0, -1)) doc.checkout([...step]);
  // First by its own name: of a version that cannot be shown `checkoutToLatest` makes a trap, where this is an error.
  doc.checkout(doc.oplogFrontiers());
  doc.checkoutToLatest();
}

/** Moves a detached document from a version, by name the operations `from`, on to a later one. */
export function showLater(doc: LoroDoc, from: readonly OpId[], to: readonly OpId[]): void {
  const endsAt = (version: readonly OpId[]) => withHandle(doc.frontiersToVV([...version]), (ends) => ends.toJSON());
  const at = endsAt(from);
  const spans: Spans = new Map();
  for (const [peer, end] of endsAt(to)) spans.set(peer, { start: at.get(peer) ?? 0, end });
  leadOn(doc, at, spans);
  doc.checkout([...to]);
}

/**
 * Most of the way from the version `at` to one that has these operations, too, where they are many. Loro's way of bringing a text up to
 * date takes time by the square of what comes at once: 300,000 pasted characters five seconds, a million half a minute. In steps of
 * some thousand operations it is a fraction of a second. Out: whether there was need of any.
 */
function leadOn(doc: LoroDoc, at: PeerEnds, spans: Spans): boolean {
  const step = manyOperations / 2;
  const large = [...spans].filter(([, { start, end }]) => end - start > manyOperations);
  for (const [peer, { start, end }] of large) {
    for (let counter = start + step; counter < end; counter += step) {
      if ((at.get(peer) ?? 0) >= counter) continue;
      // With everything that operation was made after.
      const past = withHandle(doc.frontiersToVV([{ peer, counter: counter - 1 }]), (version) => version.toJSON());
      for (const [other, upTo] of past) at.set(other, Math.max(upTo, at.get(other) ?? 0));
      doc.checkout(withHandle(VersionVector.parseJSON(at), (version) => doc.vvToFrontiers(version)));
    }
  }
  return large.length > 0;
}
