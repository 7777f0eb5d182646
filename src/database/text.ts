import { PerchError } from "../errors.js";

/**
 * Whether Postgres can hold a text to the letter: without U+0000, which no text of Postgres has, and without half of a surrogate pair,
 * which UTF-8 cannot say. A driver sends U+FFFD in place of that, so that two ids become one, and two users share a thread.
 */
export const canBeStored = (text: string): boolean => text.isWellFormed() && !text.includes("\0");

/** The text, with U+FFFD in place of what Postgres cannot hold. */
export const storable = (text: string): string =>
  canBeStored(text) ? text : text.toWellFormed().replaceAll("\0", "\ufffd");

/** As `perch.check_id`: what may be the id of a space, an app, a table, a record or a client; of a user with one byte less. */
export function isId(text: string, maxBytes = 256): boolean {
  if (text === "" || !canBeStored(text) || Buffer.byteLength(text) > maxBytes) return false;
  for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) < 0x20 || text.charCodeAt(at) === 0x7f) return false;
  return true;
}

/** As `perch.set_context` has it: the personal space is one byte longer. */
export const maxUserIdBytes = 255;

/** In: what should be a text. Out: it. Errors: PE422, naming it, for anything else and for a text that cannot be stored to the letter. */
export function requiredText(text: unknown, argument: string): string {
  // Of an object a driver makes some text, the same for many.
  if (typeof text !== "string") throw new PerchError("PE422", `${argument} is not a text`, { argument });
  if (canBeStored(text)) return text;
  const message = `${argument} holds text that cannot be stored: U+0000, or half of a surrogate pair`;
  throw new PerchError("PE422", message, { argument });
}

/** Throws PE422 for a statement's parameters when there is a text among them, or in a list, that cannot be stored to the letter. */
export function requireStorable(params: readonly unknown[]): void {
  params.forEach((value, at) => {
    if (typeof value === "string") requiredText(value, `$${at + 1}`);
    else if (Array.isArray(value)) {
      for (const item of value) if (typeof item === "string") requiredText(item, `$${at + 1}`);
    }
  });
}
