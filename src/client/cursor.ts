import type { Cursor } from "./types.js";

const toBase64Url = (text: string) =>
  btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

const fromBase64Url = (text: string) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

/** A cursor as the id of an event, in which a stream takes it. */
export function eventIdOf(cursor: Cursor): string {
  return `j${toBase64Url(JSON.stringify(cursor))}`;
}

/** The cursor in the id of an event: base64url, of JSON or (long ones) of deflated JSON. */
export async function cursorOf(eventId: string): Promise<Cursor> {
  const bytes = fromBase64Url(eventId.slice(1));
  if (eventId.startsWith("j")) return JSON.parse(new TextDecoder().decode(bytes)) as Cursor;
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return JSON.parse(await new Response(inflated).text()) as Cursor;
}

/** How far a cursor has come in a space: the number of the entry it stands at, 0 before the first. */
export function positionIn(cursor: Cursor, spaceId: string): number {
  const { spaces } = cursor as { spaces?: Record<string, unknown> };
  const position = spaces !== undefined && Object.hasOwn(spaces, spaceId) ? spaces[spaceId] : undefined;
  const seq: unknown = Array.isArray(position) ? position[0] : undefined;
  return typeof seq === "number" ? seq : 0;
}
