import { deflateRawSync, inflateRawSync } from "node:zlib";
import { PerchError } from "../../errors.js";
import { requireStorableJson } from "../json-input.js";

/** Longer ones are not looked at: header fields end there. */
export const maxIdLength = 64 * 1024;
/** A cursor of some ten thousand spaces. */
const maxCursorBytes = 1024 * 1024;
/** From here on a cursor is worth compressing. */
const longBytes = 256;

/** The id of an event: its cursor, in characters that a header field and a query take as they are. */
export function eventIdOf(cursor: string): string {
  const bytes = Buffer.from(cursor, "utf8");
  return bytes.length > longBytes
    ? `z${deflateRawSync(bytes).toString("base64url")}`
    : `j${bytes.toString("base64url")}`;
}

/**
 * The cursor that a client wants to go on from, as JSON text. In: an event's id, or the JSON of a cursor of `pull`.
 * Errors: PE413, PE422.
 */
export function cursorOf(text: string): string {
  if (text === "") return "{}";
  if (text.length > maxIdLength) {
    const detail = { limit: "cursor_length", max: maxIdLength, got: text.length };
    throw new PerchError("PE413", "the cursor is too long", detail);
  }
  try {
    const cursor = decoded(text);
    const value: unknown = JSON.parse(cursor);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      requireStorableJson("cursor", value);
      return cursor;
    }
  } catch (error) {
    if (error instanceof PerchError) throw error;
    // Told below, like everything else that is no cursor.
  }
  throw new PerchError("PE422", "the cursor is neither the id of an event nor a cursor of pull", {
    argument: "cursor",
  });
}

function decoded(text: string): string {
  if (text.startsWith("{")) return text;
  const bytes = Buffer.from(text.slice(1), "base64url");
  if (text.startsWith("j")) return bytes.toString("utf8");
  return inflateRawSync(bytes, { maxOutputLength: maxCursorBytes }).toString("utf8");
}
