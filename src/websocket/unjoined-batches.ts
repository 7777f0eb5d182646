import { remember } from "../lib/bounded-map.js";

/** Fragmented batches of rooms that are not joined. */
export interface UnjoinedBatches {
  /** Whether this is the first that is seen of a batch, which is then remembered. */
  isNew(frame: { readonly roomKey: string; readonly batchId: Buffer }): boolean;
}

/** Remembered of one socket; the oldest are forgotten first. */
const maxBatches = 64;

/** Such a batch comes as many frames, but is answered once. */
export function createUnjoinedBatches(): UnjoinedBatches {
  const batches = new Map<string, true>();
  return {
    isNew({ roomKey, batchId }) {
      const batch = roomKey + batchId.toString("latin1");
      if (batches.has(batch)) return false;
      remember(batches, batch, true, maxBatches);
      return true;
    },
  };
}
