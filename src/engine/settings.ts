import { z } from "zod";
import { milliseconds } from "../lib/settings.js";

/** What a serving process can be told of its engine; `src/lib/settings.ts` says how to add one. */
export const engineSettingTable = {
  engineThreads: z.coerce.number().int().min(1).max(64).optional().describe("threads that decode documents"),
  engineTimeoutMs: milliseconds(5_000, { min: 10 }).describe("how long one update may take to decode"),
};
