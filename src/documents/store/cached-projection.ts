/** The plain JSON of a document as the store last made it, with the bytes that each field takes as JSON text. */
export interface CachedProjection {
  readonly data: Record<string, unknown>;
  readonly fieldBytes: ReadonlyMap<string, number>;
  /** The bytes of the whole as JSON text. */
  readonly bytes: number;
}

/** What is written to the record: all fields, or those that an update may have changed. */
export interface Projection {
  readonly cached: CachedProjection;
  /** The JSON text to send. */
  readonly json: string;
  readonly isWhole: boolean;
}

export function projectWhole(data: Record<string, unknown>): Projection {
  const { json, fieldBytes } = written(data);
  return { cached: { data, fieldBytes, bytes: total(fieldBytes) }, json, isWhole: true };
}

/** In: what was shown before an update, and the fields that the update may have changed. */
export function projectChanged(before: CachedProjection, fields: Record<string, unknown>): Projection {
  const { json, fieldBytes } = written(fields);
  const all = new Map([...before.fieldBytes, ...fieldBytes]);
  return { cached: { data: { ...before.data, ...fields }, fieldBytes: all, bytes: total(all) }, json, isWhole: false };
}

/** A copy that the caller may change. */
export function handOut({ data }: CachedProjection): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(data).map(([name, value]) => [
      name,
      typeof value === "object" && value !== null ? structuredClone(value) : value,
    ]),
  );
}

function written(data: Record<string, unknown>): { json: string; fieldBytes: Map<string, number> } {
  const texts = Object.entries(data).map(
    ([name, value]) => [name, `${JSON.stringify(name)}:${JSON.stringify(value)}`] as const,
  );
  return {
    json: `{${texts.map(([, text]) => text).join(",")}}`,
    fieldBytes: new Map(texts.map(([name, text]) => [name, Buffer.byteLength(text)])),
  };
}

/** With braces and commas. */
function total(fieldBytes: ReadonlyMap<string, number>): number {
  let bytes = 1 + Math.max(1, fieldBytes.size);
  for (const one of fieldBytes.values()) bytes += one;
  return bytes;
}
