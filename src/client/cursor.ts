import type { Cursor } from "./types.js";

const toBase64Url = (bytes: Uint8Array) =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

const fromBase64Url = (text: string) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));

const through = async (bytes: Uint8Array<ArrayBuffer>, change: CompressionStream | DecompressionStream) =>
  new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(change)).arrayBuffer());

/** Proxies take 8 kB in a line of a header, and the names of many spaces have much in common. */
const longBytes = 2_000;

/** A cursor as the id of an event, in which a stream takes it. */
export async function eventIdOf(cursor: Cursor): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(cursor));
  if (bytes.length <= longBytes) return `j${toBase64Url(bytes)}`;
  return `z${toBase64Url(await through(bytes, new CompressionStream("deflate-raw")))}`;
}

/** The cursor in the id of an event: base64url, of JSON or (long ones) of deflated JSON. */
export async function cursorOf(eventId: string): Promise<Cursor> {
  const bytes = fromBase64Url(eventId.slice(1));
  const json = eventId.startsWith("j") ? bytes : await through(bytes, new DecompressionStream("deflate-raw"));
  return JSON.parse(new TextDecoder().decode(json)) as Cursor;
}

/** How far a cursor has come in a space: the number of the entry it stands at, 0 before the first. */
export function positionIn(cursor: Cursor, spaceId: string): number {
  const { spaces } = cursor as { spaces?: Record<string, unknown> };
  const position = spaces !== undefined && Object.hasOwn(spaces, spaceId) ? spaces[spaceId] : undefined;
  const seq: unknown = Array.isArray(position) ? position[0] : undefined;
  return typeof seq === "number" ? seq : 0;
}
