import { toPerchError } from "../errors.js";

/** What the database says when it has no perch, or an older one. */
const unmigrated: Record<string, RegExp> = {
  "3F000": /schema "perch"/,
  "42704": /role "perch_/,
  "42P01": /relation "perch\./,
};

/** What to throw for what a driver threw: perch's own errors as PerchError; where the schema is missing, the driver's with what to do. */
export function queryError(error: unknown): unknown {
  const own = toPerchError(error);
  if (own !== undefined) return own;
  if (!(error instanceof Error)) return error;
  const { code } = error as { code?: unknown };
  const isMissing = typeof code === "string" && unmigrated[code]?.test(error.message);
  if (isMissing && !error.message.includes("perch migrate up")) {
    error.message += " (has this database been migrated? run: perch migrate up)";
  }
  return error;
}
