import type { Shares } from "../database/shares.js";
import { ackStatus } from "../protocol/protocol.js";
import { appendEncrypted, encryptedPositions, readEncrypted, readMissedRecords } from "./encrypted/queries.js";
import {
  allowanceOfBatch,
  containersOf,
  decodeVersion,
  type EncryptedRecord,
  encodeVersion,
  encryptedRecords,
  type PeerVersion,
} from "./encrypted/records.js";
import type { LogKind } from "./log-kind.js";

/**
 * Documents that are encrypted end to end: records are stored and passed on as they are. Spaces take turns at appending, and whoever joins waits
 * for others who join.
 */
export function encryptedDocuments({
  reads,
  appends,
  appendsOf,
}: Pick<Shares, "reads" | "appends" | "appendsOf">): LogKind<EncryptedRecord, PeerVersion> {
  return {
    versions: { none: new Map(), decode: decodeVersion, encode: encodeVersion },
    entriesOf(updates) {
      const allowance = { ...allowanceOfBatch };
      const records: EncryptedRecord[] = [];
      for (const update of updates) {
        const some = encryptedRecords(Buffer.from(update.buffer, update.byteOffset, update.length), allowance);
        if (allowance.records < 0 || allowance.peers < 0) return ackStatus.payloadTooLarge;
        if (some === undefined) return ackStatus.invalidUpdate;
        records.push(...some);
      }
      return records;
    },
    payloadOf: ({ payload }) => payload,
    updatesOf: containersOf,
    read: (key, version) => readEncrypted(reads, key, version),
    readMissed: (key, after) => readMissedRecords(appends, key, after),
    append: (key, place, records) => appendEncrypted(appendsOf(key.spaceId), key, place, records),
    positions: (keys) => encryptedPositions(appends, keys),
    heard: (one) => (one.channel === "perch_documents" ? one : undefined),
  };
}
