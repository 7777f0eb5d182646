import type { CheckpointMetadata, SerializerProtocol } from "@langchain/langgraph-checkpoint";

/** What jsonb refuses in JSON text: NUL, and half of a surrogate pair. */
const unstorable = /\\u(?:0000|d[89a-f])/;

/**
 * Metadata can be searched, so it is stored as jsonb, without the characters that jsonb cannot hold: a graph must not stop
 * because one of them got into somebody's tag.
 */
export async function metadataText(serde: SerializerProtocol, metadata: CheckpointMetadata): Promise<string> {
  const [type, bytes] = await serde.dumpsTyped(metadata);
  const text = type === "json" ? new TextDecoder().decode(bytes) : JSON.stringify(metadata);
  return unstorable.test(text) ? JSON.stringify(cleaned(JSON.parse(text))) : text;
}

/** Gives back what the serializer makes of values of its own kind, whatever its encoding is. */
export async function loadedMetadata(serde: SerializerProtocol, metadata: unknown): Promise<CheckpointMetadata> {
  return serde.loadsTyped(...(await serde.dumpsTyped(metadata)));
}

function cleaned(value: unknown): unknown {
  if (typeof value === "string") return clean(value);
  if (Array.isArray(value)) return value.map(cleaned);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [clean(key), cleaned(item)]));
}

const clean = (text: string) => text.replaceAll("\0", "").replace(/[\ud800-\udfff]/gu, "\ufffd");
