import { type ImportStatus, LoroDoc, VersionVector } from "loro-crdt";
import { withHandle } from "./handles.js";
import { missingBase, refused } from "./refusals.js";
import { addSpan, type Spans } from "./spans.js";

/** More than this many updates are cheaper in one batch, fewer one by one. */
const fewUpdates = 16;
/** More operations than this at once are taken in by steps of about half as many. */
const manyOperations = 40_000;

/**
 * Imports all updates. In: how many operations are new in them, about. Out: the operations that were new.
 * Errors: PE422 when an update builds on operations that neither the document nor the others have; strings of Loro's.
 */
export function mergeAll(doc: LoroDoc, updates: readonly Uint8Array[], operations: number): Spans {
  const results: ImportStatus[] = [];
  let rest = updates;
  const [first] = updates;
  // An empty document is filled directly, however much it is.
  if (operations > manyOperations && first && doc.opCount() === 0) {
    results.push(doc.import(first));
    rest = updates.slice(1);
  }
  // Loro's way of bringing a text up to date takes time by the square of what comes at once: 300,000 pasted characters five
  // seconds, a million half a minute. In steps it is a fraction of a second.
  const bySteps = operations > manyOperations && rest.length > 0;
  const before = bySteps ? withHandle(doc.oplogVersion(), (version) => version.toJSON()) : undefined;
  if (before) doc.detach();
  if (rest.length > fewUpdates) results.push(doc.importBatch([...rest]));
  else for (const update of rest) results.push(doc.import(update));
  const spans: Spans = new Map();
  for (const { success } of results) for (const [peer, { start, end }] of success) addSpan(spans, peer, start, end);
  checkComplete(doc, results);
  if (before) catchUp(doc, before, spans);
  return spans;
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

/** Moves a detached document from the version `at` to its latest, a few thousand operations at a time. */
function catchUp(doc: LoroDoc, at: Map<`${number}`, number>, spans: Spans): void {
  const step = manyOperations / 2;
  for (const [peer, { start, end }] of spans) {
    for (let counter = start + step; counter < end; counter += step) {
      if ((at.get(peer) ?? 0) >= counter) continue;
      // With everything that operation was made after.
      const past = withHandle(doc.frontiersToVV([{ peer, counter: counter - 1 }]), (version) => version.toJSON());
      for (const [other, upTo] of past) at.set(other, Math.max(upTo, at.get(other) ?? 0));
      doc.checkout(withHandle(VersionVector.parseJSON(at), (version) => doc.vvToFrontiers(version)));
    }
  }
  doc.checkoutToLatest();
}
