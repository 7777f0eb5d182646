import { LoroDoc, type PeerID } from "loro-crdt";
import { PerchError } from "../../errors.js";
import type { Ends } from "./api.js";
import type { CachedDocument } from "./cache.js";
import { changedFields } from "./changed-fields.js";
import { isScalar } from "./fields.js";
import { withHandle } from "./handles.js";
import type { Json } from "./json.js";
import { containerKinds } from "./kinds/index.js";
import { mergeAll } from "./merge.js";
import { applyPatch } from "./patch.js";
import { isEmpty, project } from "./projection.js";
import type { ReconcileOptions } from "./reconcile.js";
import { versionOfEnds } from "./version.js";

/**
 * Lets `look` see the document as it was at an earlier version: a document of its own, of the operations up to there and nothing
 * else. Cheaper than checking out a fork, and containers that were touched later are not in it, so they are null as they were.
 * Errors: PE422 when the document never had that version.
 */
function withVersion<Result>({ doc }: CachedDocument, ends: Ends, look: (past: LoroDoc) => Result): Result {
  checkKnown(doc, ends);
  return withHandle(new LoroDoc(), (past) => {
    const spans = Object.entries(ends).filter(([, end]) => end > 0);
    if (spans.length > 0) {
      const operations = doc.export({
        mode: "updates-in-range",
        spans: spans.map(([peer, len]) => ({ id: { peer: peer as PeerID, counter: 0 }, len })),
      });
      const count = spans.reduce((sum, [, end]) => sum + end, 0);
      mergeAll(past, [operations], { operations: count, peers: spans.length });
    }
    return look(past);
  });
}

/** The plain JSON of the document as it was at a version. Errors: PE422. */
export function projectAt(held: CachedDocument, ends: Ends): Record<string, Json> {
  return withVersion(held, ends, (past) => project(past, held.schema.fields));
}

/**
 * Sets the document back to what it was at a version, by new operations on top of everything since: as little as differs, so what
 * others write meanwhile merges, and what was deleted comes back with its marks and nested containers. Loro's own way of doing so leaves
 * something to do: containers that were untouched then are empty now rather than null, and tree nodes that come back have new ids, and
 * not always their old place.
 * Errors: PE422 when the document never had that version.
 */
export function revertTo(held: CachedDocument, ends: Ends, options: ReconcileOptions): void {
  const { doc, schema } = held;
  const { fields } = schema;
  withVersion(held, ends, (past) => {
    const wanted = project(past, fields);
    doc.revertTo(past.oplogFrontiers());
    for (const [name, kind] of Object.entries(fields)) {
      if (isScalar(kind) || isEmpty(wanted[name] ?? null)) continue;
      containerKinds[kind].restore?.(doc, past, name);
    }
    const got = project(doc, fields);
    applyPatch(doc, changedFields(fields, got, wanted), options);
  });
}

function checkKnown(doc: LoroDoc, ends: Ends): void {
  const order = withHandle(versionOfEnds(ends), (version) =>
    withHandle(doc.oplogVersion(), (head) => version.compare(head)),
  );
  if (order === 0 || order === -1) return;
  throw new PerchError("PE422", "this is no earlier version of the document: pass one that its history lists", {
    reason: "version",
  });
}
