import { workerData } from "node:worker_threads";
import * as loro from "loro-crdt";
import { LoroDoc } from "loro-crdt";
import { serve, transferring } from "../../engine/thread.js";
import { PerchError } from "../../errors.js";
import type { DocumentThreadApi, PatchBase } from "./api.js";
import { createCache, estimateBytes, type HeldDocument } from "./cache.js";
import { checkOperations } from "./check.js";
import { checkEnvelope } from "./envelope.js";
import type { DocumentSchema } from "./fields.js";
import { withHandle } from "./handles.js";
import { declaredRoots } from "./layout.js";
import type { DocumentLimits } from "./limits.js";
import { applyPatch, checkPatch } from "./patch.js";
import { project } from "./projection.js";
import { baseVersion, decodeVersion, encodedVersion } from "./version.js";

const limits = workerData as DocumentLimits;
const cache = createCache(limits);

function load(id: string, schema: DocumentSchema, snapshot: Uint8Array | null, updates: readonly Uint8Array[]) {
  cache.drop(id);
  const doc = snapshot === null ? new LoroDoc() : LoroDoc.fromSnapshot(snapshot);
  if (updates.length > 0) {
    const { pending } = doc.importBatch([...updates]);
    if (pending && pending.size > 0) throw invalid("what is stored lacks an update that later ones build on");
  }
  const bytes = updates.reduce((sum, update) => sum + update.length, snapshot?.length ?? 0);
  cache.put(id, { doc, schema, roots: declaredRoots(schema.fields), estimatedBytes: estimateBytes(bytes) });
  return versionOf(doc);
}

function importUpdates(id: string, updates: readonly Uint8Array[]) {
  const held = cache.get(id);
  for (const update of updates) checkEnvelope(update, limits.updateBytes);
  return orDrop(id, () => {
    const { success, pending } = held.doc.importBatch([...updates]);
    if (pending && pending.size > 0) throw invalid("it builds on updates that are not here");
    checkOperations(held, success, limits);
    cache.grow(
      id,
      updates.reduce((sum, update) => sum + update.length, 0),
    );
    return { changed: success.size > 0, ...versionOf(held.doc) };
  });
}

function exportFrom(id: string, version: Uint8Array) {
  const { doc } = cache.get(id);
  const updates = withHandle(decodeVersion(version), (theirs) => {
    const order = withHandle(doc.oplogVersion(), (ours) => ours.compare(theirs));
    return order === 0 || order === -1 ? [] : [doc.export({ mode: "update", from: theirs })];
  });
  return transferring({ updates, ...versionOf(doc) }, updates);
}

function snapshot(id: string) {
  const { doc } = cache.get(id);
  const bytes = doc.export({ mode: "snapshot" });
  return transferring({ snapshot: bytes, ...versionOf(doc) }, [bytes]);
}

function patch(id: string, value: string | object, base: PatchBase) {
  const { doc, schema } = cache.get(id);
  const entries = checkPatch(schema, typeof value === "string" ? JSON.parse(value) : value);
  return orDrop(id, () => {
    const from = baseVersion(base);
    const before = doc.oplogVersion();
    doc.setPeerId(randomPeer());
    if (from) doc.checkout(doc.vvToFrontiers(from));
    applyPatch(doc, schema, entries, limits);
    doc.commit();
    if (from) doc.checkoutToLatest();
    const changed = withHandle(doc.oplogVersion(), (after) => after.compare(before)) !== 0;
    const update = changed ? doc.export({ mode: "update", from: before }) : null;
    return { update, ...versionOf(doc) };
  });
}

/** After any failure the copy held may contain half of something: it goes, and the caller loads it again. */
function orDrop<Result>(id: string, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && error.name === "RuntimeError") throw error;
    cache.drop(id);
    const known = error instanceof PerchError ? error : invalid(String(error));
    throw new PerchError(known.code, known.message, { ...(known.detail as object), dropped: true });
  }
}

function versionOf(doc: HeldDocument["doc"]) {
  return { version: encodedVersion(doc) };
}

function invalid(reason: string): PerchError {
  return new PerchError("PE422", `the update was refused: ${reason}`, { reason });
}

/** One writer, one peer id, never used again: two writers under one id diverge without a word. */
function randomPeer(): bigint {
  const [peer = 0n] = crypto.getRandomValues(new BigUint64Array(1));
  return peer >> 1n;
}

serve<DocumentThreadApi>(
  {
    load,
    has: (id) => cache.has(id),
    import: importUpdates,
    exportFrom,
    snapshot,
    project: (id) => {
      const { doc, schema } = cache.get(id);
      return { data: project(doc, schema.fields) };
    },
    patch,
    drop: (id) => cache.drop(id),
    stats: () => cache.stats(),
  },
  {
    memory: () => (loro as unknown as { __wasm: { memory: { buffer: ArrayBuffer } } }).__wasm.memory.buffer.byteLength,
  },
);
