import { z } from "zod";
import { count, milliseconds } from "../lib/settings.js";
import { defaultMaxMessageBytes, greatestMaxMessageBytes } from "./message-limit.js";

/** What a serving process can be told of its connections; `src/lib/settings.ts` says how to add one. */
export const databaseSettingTable = {
  listenUrl: z
    .string()
    .optional()
    .describe("where to LISTEN, when DATABASE_URL goes through a transaction-pooling proxy"),
  readUrls: z
    .string()
    .transform((text) => text.split(/\s+/).filter((url) => url !== ""))
    .refine((urls) => urls.length > 0, "no URL is in it")
    .optional()
    .describe("standbys, by spaces, which answer what only reads when they are as far as the primary"),
  poolSize: count(10, { min: 2, max: 1_000 }).describe("connections to Postgres at most"),
  queryTimeoutMs: milliseconds(60_000, { min: 1_000, max: 3_600_000 }).describe(
    "how long a statement may take before its connection counts as lost",
  ),
  maxMessageBytes: count(defaultMaxMessageBytes, { min: 2 ** 20, max: greatestMaxMessageBytes }).describe(
    "a message of the database over this ends its connection; documents need twice their bytes",
  ),
};
