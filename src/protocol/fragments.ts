import { ownCopy } from "../lib/binary.js";
import { type AckStatus, ackStatus } from "./protocol.js";

export interface FragmentLimits {
  /** What a reassembled update may measure. */
  readonly maxUpdateBytes: number;
  /** Pieces a batch may come in. */
  readonly maxFragments: number;
  /** Batches that may be incomplete at once. */
  readonly maxBatches: number;
  /** How long to wait for the next piece of a batch. */
  readonly timeoutMs: number;
}

/** What the owner of a reassembly is told. Each batch ends in exactly one of the two. */
export interface FragmentEvents {
  complete(batchId: Buffer, update: Uint8Array<ArrayBuffer>): void;
  /** The batch is given up; what still arrives of it is ignored. */
  refuse(batchId: Buffer, status: AckStatus): void;
  /** So many bytes are to be held (negative: are freed). Out: whether there is room for them. */
  reserve(bytes: number): boolean;
}

export interface Fragments {
  header(batchId: Buffer, fragmentCount: number, totalBytes: number): void;
  fragment(batchId: Buffer, index: number, bytes: Buffer): void;
  /** The batch has been answered: what arrives of it is ignored, until its header comes again. */
  ignore(batchId: Buffer): void;
  /** Forgets all batches without a word. */
  close(): void;
}

interface IncompleteBatch {
  readonly id: Buffer;
  readonly totalBytes: number;
  readonly pieces: (Uint8Array | undefined)[];
  readonly fragmentCount: number;
  received: number;
  bytes: number;
  timer: NodeJS.Timeout;
}

/** How many ended batches are remembered, so that the late pieces of a refused one are not answered again. */
const rememberedBatches = 64;

/**
 * Puts the fragmented batches of one room and socket together. Counts and sizes in a header are claims: they are checked
 * against the limits at once, and memory is taken only by bytes that have arrived.
 */
export function createFragments(limits: FragmentLimits, events: FragmentEvents): Fragments {
  const batches = new Map<string, IncompleteBatch>();
  const ended = new Set<string>();

  function end(key: string, batch: IncompleteBatch | undefined): void {
    if (batch !== undefined) {
      clearTimeout(batch.timer);
      batches.delete(key);
      if (batch.bytes > 0) events.reserve(-batch.bytes);
    }
    ended.add(key);
    if (ended.size > rememberedBatches)
      for (const oldest of [...ended].slice(0, rememberedBatches / 2)) ended.delete(oldest);
  }

  function refuse(key: string, batchId: Buffer, status: AckStatus): void {
    const batch = batches.get(key);
    end(key, batch);
    events.refuse(batch?.id ?? batchId, status);
  }

  return {
    header(batchId, fragmentCount, totalBytes) {
      const key = batchId.toString("latin1");
      const id = Buffer.from(batchId);
      // A resent batch starts over.
      const earlier = batches.get(key);
      if (earlier !== undefined) end(key, earlier);
      ended.delete(key);
      if (totalBytes > limits.maxUpdateBytes || fragmentCount > limits.maxFragments) {
        return refuse(key, id, ackStatus.payloadTooLarge);
      }
      if (batches.size >= limits.maxBatches) return refuse(key, id, ackStatus.rateLimited);
      // Every piece holds at least a byte.
      if (fragmentCount < 1 || fragmentCount > totalBytes) return refuse(key, id, ackStatus.invalidUpdate);
      const timer = setTimeout(() => refuse(key, id, ackStatus.fragmentTimeout), limits.timeoutMs);
      batches.set(key, { id, totalBytes, pieces: [], fragmentCount, received: 0, bytes: 0, timer });
    },

    fragment(batchId, index, bytes) {
      const key = batchId.toString("latin1");
      const batch = batches.get(key);
      if (batch === undefined) {
        if (!ended.has(key)) refuse(key, Buffer.from(batchId), ackStatus.fragmentTimeout);
        return;
      }
      const fits = index < batch.fragmentCount && bytes.length > 0 && batch.bytes + bytes.length <= batch.totalBytes;
      if (!fits || batch.pieces[index] !== undefined) return refuse(key, batchId, ackStatus.invalidUpdate);
      if (!events.reserve(bytes.length)) return refuse(key, batchId, ackStatus.rateLimited);
      batch.pieces[index] = ownCopy(bytes);
      batch.received += 1;
      batch.bytes += bytes.length;
      batch.timer.refresh();
      if (batch.received < batch.fragmentCount) return;
      if (batch.bytes !== batch.totalBytes) return refuse(key, batchId, ackStatus.invalidUpdate);
      const update = joined(batch);
      end(key, batch);
      events.complete(batch.id, update);
    },

    ignore: (batchId) => end(batchId.toString("latin1"), undefined),

    close() {
      for (const [key, batch] of [...batches]) end(key, batch);
      ended.clear();
    },
  };
}

function joined(batch: IncompleteBatch): Uint8Array<ArrayBuffer> {
  const update = new Uint8Array(batch.totalBytes);
  let at = 0;
  for (const piece of batch.pieces) {
    if (piece === undefined) continue;
    update.set(piece, at);
    at += piece.length;
  }
  return update;
}
