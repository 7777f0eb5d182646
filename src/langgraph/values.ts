import type { SerializerProtocol } from "@langchain/langgraph-checkpoint";

/** A value as it is stored: JSON as text, anything else as bytes with its type; nothing at all: a channel without a value. */
export interface StoredValue {
  type: string | null;
  json_text: string | null;
  bytes: Uint8Array | null;
}

const none: StoredValue = { type: null, json_text: null, bytes: null };
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export async function storedValue(serde: SerializerProtocol, value: unknown): Promise<StoredValue> {
  const [type, bytes] = await serde.dumpsTyped(value);
  if (type !== "json") return { type, json_text: null, bytes };
  try {
    const json_text = utf8.decode(bytes);
    // A text of Postgres holds no NUL. JSON has none either, but what a serializer calls "json" is its own affair.
    if (!json_text.includes("\0")) return { type: null, json_text, bytes: null };
  } catch {
    // No UTF-8.
  }
  return { type, json_text: null, bytes };
}

export const hasValue = ({ json_text, bytes }: StoredValue): boolean => json_text !== null || bytes !== null;

export function loadedValue(serde: SerializerProtocol, { type, json_text, bytes }: StoredValue): Promise<unknown> {
  if (json_text !== null) return serde.loadsTyped("json", json_text);
  return serde.loadsTyped(type ?? "json", bytes ?? "");
}

/** One array a column, as the SQL functions take lists of values. Without names: none of these channels has a value. */
export function columns(values: readonly StoredValue[]) {
  return {
    types: values.map(({ type }) => type),
    jsons: values.map(({ json_text }) => json_text),
    bytes: values.map(({ bytes }) => bytes),
  };
}

export const noValue: StoredValue = none;
