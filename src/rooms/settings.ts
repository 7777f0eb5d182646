import { count, flag, milliseconds, type SettingsOf } from "../lib/settings.js";

/** Settings of presence; `src/lib/settings.ts` says how to add one. */
export const roomSettingTable = {
  presenceIntervalMs: milliseconds(33).describe("how often the presence of a room is passed on at most"),
  presenceTimeoutMs: milliseconds(30_000).describe("how long a presence entry is kept for late joiners"),
  persistedPresenceMs: milliseconds(24 * 60 * 60 * 1_000).describe("how long an entry of persisted presence is kept"),
  presenceExchangeMs: milliseconds(100).describe(
    "how often a node stores presence at most, for other nodes or for later",
  ),
  maxPresenceBytes: count(512 * 1024).describe(
    "the presence of a room: what its entries take, some 300 bytes each besides their own",
  ),
  maxPresenceKeys: count(1_000).describe("the presence keys of a room"),
  maxPersistedPresenceBytes: count(1024 * 1024).describe(
    "the persisted presence of a user, counted so; the oldest goes first",
  ),
  viewerPresence: flag.describe("whether viewers may show their presence, not only see it"),
};

export type RoomSettings = SettingsOf<typeof roomSettingTable>;
