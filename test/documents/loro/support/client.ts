import { LoroDoc } from "loro-crdt";
import type { DocumentEngine } from "../../../../src/documents/loro/engine.js";
import type { DocumentSchema, FieldKinds } from "../../../../src/documents/loro/fields.js";

/** One field of every kind. */
export const everyKind = {
  title: "string",
  score: "number",
  count: "integer",
  done: "boolean",
  due: "datetime",
  extra: "json",
  body: "text",
  tags: "list",
  cards: "movable_list",
  outline: "tree",
  likes: "counter",
  settings: "map",
} as const satisfies FieldKinds;

export const notes: DocumentSchema = { table: "notes", fields: everyKind };

/** A replica as an ordinary Loro client holds it, kept in step with the document in an engine. */
export interface Replica {
  doc: LoroDoc;
  /** Sends what is new here. */
  push(): Promise<{ changed: boolean }>;
  /** Fetches what is new there. */
  pull(): Promise<void>;
}

export function replicaOf(engine: DocumentEngine, id: string): Replica {
  const doc = new LoroDoc();
  let sent = doc.oplogVersion();
  return {
    doc,
    async push() {
      doc.commit();
      const update = doc.export({ mode: "update", from: sent });
      const result = await engine.call(id, "import", [id, [update]]);
      sent = doc.oplogVersion();
      return result;
    },
    async pull() {
      doc.commit();
      const { updates } = await engine.call(id, "exportFrom", [id, doc.oplogVersion().encode()]);
      for (const update of updates) doc.import(update);
    },
  };
}

/** A document of every kind in the engine, empty. */
export async function openDocument(
  engine: DocumentEngine,
  id: string,
  schema: DocumentSchema = notes,
): Promise<Replica> {
  await engine.call(id, "load", [id, schema, null, []]);
  return replicaOf(engine, id);
}

export async function projection(engine: DocumentEngine, id: string): Promise<Record<string, unknown>> {
  return (await engine.call(id, "project", [id])).data;
}

/** Makes documents of every kind, empty, each under an id of its own, with what tests do to them. */
export function createFresh(engine: DocumentEngine) {
  let documents = 0;
  return async () => {
    const id = `document ${++documents}`;
    const replica = await openDocument(engine, id);
    return {
      id,
      replica,
      patch: (patch: object | string) => engine.call(id, "patch", [id, patch, "head"]),
      read: () => projection(engine, id),
    };
  };
}

/** The projection of a document that nobody has written to. */
export const nothing = Object.fromEntries(Object.keys(everyKind).map((name) => [name, null]));
/** A value for every field. */
export const full = {
  title: "Trip",
  score: 1.5,
  count: 3,
  done: true,
  due: "2026-11-01T10:00:00.123Z",
  extra: { a: [1, { b: null }] },
  body: "héllo 🎉",
  tags: ["a", { b: 1 }, null],
  cards: [{ id: "1", text: "x" }, "plain"],
  outline: [
    { id: "root", parent: null, name: "Root" },
    { id: "leaf", parent: "root", name: "Leaf", deep: { x: [1] } },
    { id: "second", parent: null },
  ],
  likes: 2,
  settings: { dark: true, nested: { a: 1 } },
};
