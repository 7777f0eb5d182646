import type { PeerID, VersionVector } from "loro-crdt";
import { refused } from "./refusals.js";

/** Runs of operations, by the peer that made them: from `start` up to, not including, `end`. */
export type Spans = Map<PeerID, { start: number; end: number }>;

const headerLength = 22;

/**
 * The operations an updates blob says it holds, known ones included.
 * It is a row of blocks, each one run of one peer: its length, then first counter, number of operations, four numbers more, and the
 * table of peers, its own first. Read here because asking Loro costs more than importing a keystroke does.
 * In: a blob that passed `checkEnvelope` as updates. Errors: PE422 when its headers cannot be read.
 */
export function blobSpans(blob: Uint8Array): Spans {
  const spans: Spans = new Map();
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  let at = headerLength;
  const number = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = blob[at++];
      if (byte === undefined) throw unreadable();
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      if (factor > 2 ** 42) throw unreadable();
    }
  };
  while (at < blob.length) {
    const length = number();
    const next = at + length;
    if (next > blob.length) throw unreadable();
    const start = number();
    const count = number();
    for (let skipped = 0; skipped < 5; skipped++) number();
    if (at + 8 > next) throw unreadable();
    const peer = view.getBigUint64(at, true).toString() as PeerID;
    addSpan(spans, peer, start, start + count);
    at = next;
  }
  return spans;
}

const unreadable = () => refused("its headers cannot be read");

/** How many operations updates blobs hold, whether known or not. */
export function countAll(updates: readonly Uint8Array[]): number {
  let count = 0;
  for (const update of updates) for (const { start, end } of blobSpans(update).values()) count += end - start;
  return count;
}

/** Widens a peer's run to take in another. */
export function addSpan(spans: Spans, peer: PeerID, start: number, end: number): void {
  const known = spans.get(peer);
  spans.set(peer, { start: Math.min(start, known?.start ?? start), end: Math.max(end, known?.end ?? end) });
}

/** How many operations lie beyond what `version` knows. */
export function countNew(spans: Spans, version: VersionVector): number {
  let count = 0;
  for (const [peer, { start, end }] of spans) count += Math.max(0, end - Math.max(start, version.get(peer) ?? 0));
  return count;
}

/** The part of each run that `version` knows already. */
export function knownPart(spans: Spans, version: VersionVector): Spans {
  const known: Spans = new Map();
  for (const [peer, { start, end }] of spans) {
    const upTo = Math.min(end, version.get(peer) ?? 0);
    if (start < upTo) known.set(peer, { start, end: upTo });
  }
  return known;
}
