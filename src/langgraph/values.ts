import { isUtf8 } from "node:buffer";
import type { SerializerProtocol } from "@langchain/langgraph-checkpoint";

/** An encoded value on its way to the database: JSON (type null) or bytes of another type; no bytes: a channel without a value. */
export interface EncodedValue {
  readonly type: string | null;
  readonly bytes: Uint8Array | null;
}

export const noValue: EncodedValue = { type: null, bytes: null };

export async function encodedValue(serde: SerializerProtocol, value: unknown): Promise<EncodedValue> {
  const [type, bytes] = await serde.dumpsTyped(value);
  // JSON is kept as text, so that SQL can read it: that is UTF-8 without NUL, whatever a serializer may call "json".
  const isText = type === "json" && isUtf8(bytes) && !bytes.includes(0);
  return { type: isText ? null : type, bytes };
}

/** Values as the SQL functions take them: one behind the other, and where each begins (from 1) and how long it is. */
export function packed(values: readonly EncodedValue[]) {
  const sizes: (number | null)[] = [];
  const starts: number[] = [];
  const parts: Uint8Array[] = [];
  let next = 1;
  for (const { bytes } of values) {
    starts.push(next);
    sizes.push(bytes === null ? null : bytes.byteLength);
    if (bytes === null) continue;
    next += bytes.byteLength;
    parts.push(bytes);
  }
  const types = values.map(({ type }) => type);
  return { types, starts, sizes, payload: parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts) };
}

/** A value as it comes from the database. */
export interface StoredValue {
  readonly type: string | null;
  readonly json_text: string | null;
  readonly bytes: Uint8Array | null;
}

export const hasValue = ({ json_text, bytes }: StoredValue): boolean => json_text !== null || bytes !== null;

export function loadedValue(serde: SerializerProtocol, { type, json_text, bytes }: StoredValue): Promise<unknown> {
  return serde.loadsTyped(type ?? "json", json_text ?? bytes ?? "");
}
