import type { PeerID, VersionVector } from "loro-crdt";
import { readerOf, readVarint } from "../../../lib/binary.js";
import { refused } from "../refusals.js";
import { headerLength } from "./envelope.js";

/** Runs of operations, by the peer that made them: from `start` up to, not including, `end`. */
export type Spans = Map<PeerID, { start: number; end: number }>;

/** One block of an updates blob: one run of one peer. */
interface Block {
  start: number;
  count: number;
  /** Its own peer first, then those that its operations name. */
  peers: PeerID[];
}

/**
 * The blocks of an updates blob: its length, then first counter, number of operations, four numbers more, the number of peers, and
 * the peers. Read here because asking Loro costs more than importing a keystroke does.
 * In: a blob that passed `checkEnvelope` as updates. Errors: PE422 when its headers cannot be read.
 */
function* blocksOf(blob: Uint8Array, allPeers: boolean): Generator<Block> {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const reader = readerOf(blob);
  reader.offset = headerLength;
  const number = (): number => {
    const value = readVarint(reader, 8);
    if (reader.bad) throw unreadable();
    return value;
  };
  while (reader.offset < blob.length) {
    const length = number();
    const next = reader.offset + length;
    if (next > blob.length) throw unreadable();
    const start = number();
    const count = number();
    for (let skipped = 0; skipped < 4; skipped++) number();
    const known = allPeers ? number() : Math.min(number(), 1);
    const at = reader.offset;
    if (known < 1 || at + 8 * known > next) throw unreadable();
    const peers = Array.from({ length: known }, (_, index) => `${view.getBigUint64(at + 8 * index, true)}` as PeerID);
    yield { start, count, peers };
    reader.offset = next;
  }
}

/** The operations an updates blob says it holds, known ones included. In, errors: as above. */
export function blobSpans(blob: Uint8Array): Spans {
  const spans: Spans = new Map();
  for (const { start, count, peers } of blocksOf(blob, false)) {
    for (const peer of peers) addSpan(spans, peer, start, start + count);
  }
  return spans;
}

/** Every peer an updates blob names, be it only as one whose operations its own were made after. In, errors: as above. */
export function blobPeers(blob: Uint8Array): Set<PeerID> {
  const named = new Set<PeerID>();
  for (const { peers } of blocksOf(blob, true)) for (const peer of peers) named.add(peer);
  return named;
}

const unreadable = () => refused("its headers cannot be read");

export interface Extent {
  operations: number;
  peers: number;
}

/** How much updates blobs hold, whether known or not. */
export function extentOf(updates: readonly Uint8Array[]): Extent {
  let operations = 0;
  const peers = new Set<PeerID>();
  for (const update of updates) {
    for (const [peer, { start, end }] of blobSpans(update)) {
      operations += end - start;
      peers.add(peer);
    }
  }
  return { operations, peers: peers.size };
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
