import { count, countOrNone, milliseconds, type SettingsOf } from "../lib/settings.js";

/** Settings of sockets; `src/lib/settings.ts` says how to add one. */
export const websocketSettingTable = {
  maxSockets: count(50_000).describe("open sockets"),
  maxSocketsPerAddress: countOrNone(2_000).describe(
    "open sockets and streams of one address, IPv6 by its /64; behind a proxy see PERCH_TRUST_PROXY; 0: no limit",
  ),
  maxSocketsPerUser: countOrNone(1_000).describe("open sockets and streams of one user; 0: no limit"),
  maxRoomsPerSocket: count(1_000).describe("rooms joined on one socket"),
  maxUnauthenticatedSockets: count(2_500).describe("open sockets that have shown no valid token"),
  unauthenticatedMs: milliseconds(10_000).describe("how long a socket may stay open without a valid token"),
  pingMs: milliseconds(30_000).describe("how often a silent socket is pinged; still silent, it is closed"),
  maxUpdateBytes: count(16 * 1024 * 1024).describe("a client's update, also one that came in fragments"),
  maxFragments: count(4_096).describe("fragments of one batch"),
  maxIncompleteBatches: count(16).describe("batches of one room and socket whose fragments have not all come"),
  fragmentTimeoutMs: milliseconds(10_000).describe("how long to wait for the next fragment of a batch"),
  maxBatchesPerSecond: count(20_000).describe("batches of one socket; twice as many in a burst"),
  maxPendingBytes: count(32 * 1024 * 1024).describe("unanswered bytes of one socket, before perch stops reading it"),
  maxQueuedBytes: count(8 * 1024 * 1024).describe("unsent bytes of one socket, before perch stops queueing for it"),
  joinPatienceMs: milliseconds(5_000).describe("how long a join is tried while the database is away"),
};

export interface WebsocketSettings extends SettingsOf<typeof websocketSettingTable> {
  readonly slowReaderMs: number;
}
