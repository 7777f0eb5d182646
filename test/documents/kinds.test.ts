import { LoroDoc } from "loro-crdt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DocumentEngine } from "../../src/documents/loro/engine.js";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/index.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { patchDocument, record, startWorkerNode, type WorkerNode } from "../worker/support.js";
import { ada, cleanUp, declare, eventually, keyOf } from "./live/support.js";
import { everyKind, nothing } from "./loro/support/client.js";

type Field = keyof typeof everyKind;

interface Sample {
  /** What is asked for. */
  patch: unknown;
  /** What a Loro client does instead. */
  client(doc: LoroDoc): void;
  /** What the record shows; by default what was asked for. */
  shown?: unknown;
  /** As a client does it, where ids are Loro's. */
  shownOfClient?: unknown;
}

const scalar = (name: Field, value: string | number | boolean | object, shown: unknown = value): Sample => ({
  patch: shown,
  client: (doc) => doc.getMap("fields").set(name, value as string),
  shown,
});

/** For each field one value, and for some another. */
const samples: [Field, string, Sample][] = [
  ["title", "a string", scalar("title", "Trip 🎉")],
  ["score", "a number", scalar("score", 1.5)],
  ["count", "an integer", scalar("count", 3)],
  // A Loro client cannot write a number beyond 2^53 exactly, and writes its digits.
  ["count", "an integer beyond 2^53", scalar("count", "9007199254740993")],
  ["count", "an integer of thirty digits", scalar("count", "-123456789012345678901234567890")],
  ["done", "a boolean", scalar("done", false)],
  ["due", "a time", scalar("due", "2026-11-01T10:00:00.123+01:00")],
  ["extra", "JSON", scalar("extra", { a: [1, { b: null }], c: "x" })],
  ["body", "a text", { patch: "héllo 🎉", client: (doc) => doc.getText("body").insert(0, "héllo 🎉") }],
  [
    "tags",
    "a list",
    {
      patch: ["a", { b: 1 }, null],
      client: (doc) => {
        for (const item of ["a", { b: 1 }, null]) doc.getList("tags").push(item);
      },
    },
  ],
  [
    "cards",
    "a movable list",
    {
      patch: [{ id: "1", text: "x" }, "plain"],
      client: (doc) => {
        const list = doc.getMovableList("cards");
        list.push("plain");
        list.push({ id: "1", text: "x" });
        list.move(1, 0);
      },
    },
  ],
  [
    "outline",
    "a tree",
    {
      patch: [
        { id: "leaf", parent: "root", deep: { x: [1] } },
        { id: "root", parent: null, name: "Root" },
      ],
      shown: [
        { id: "root", parent: null, name: "Root" },
        { id: "leaf", parent: "root", deep: { x: [1] } },
      ],
      client: (doc) => {
        const root = doc.getTree("outline").createNode();
        root.data.set("name", "Root");
        root.createNode().data.set("deep", { x: [1] });
      },
      shownOfClient: [
        { id: expect.stringMatching(/^0@\d+$/), parent: null, name: "Root" },
        { id: expect.stringMatching(/^\d+@\d+$/), parent: expect.stringMatching(/^0@\d+$/), deep: { x: [1] } },
      ],
    },
  ],
  ["likes", "a counter", { patch: 2.5, client: (doc) => doc.getCounter("likes").increment(2.5) }],
  [
    "settings",
    "a map",
    {
      patch: { dark: true, nested: { a: 1 } },
      client: (doc) => {
        doc.getMap("settings").set("dark", true);
        doc.getMap("settings").set("nested", { a: 1 });
      },
    },
  ],
];

/** For each kind a value it does not take, and what is said of it. */
const misfits: [Field, unknown, { expected: string; got: string }][] = [
  ["title", 3, { expected: "a string", got: "the number 3" }],
  ["score", "3", { expected: "a finite number", got: 'the string "3"' }],
  ["count", 1.5, { expected: "an integer, or one as a decimal string", got: "the number 1.5" }],
  ["done", "yes", { expected: "true or false", got: 'the string "yes"' }],
  ["due", "tomorrow", { expected: "an ISO 8601 date, or time with its offset", got: 'the string "tomorrow"' }],
  ["body", 3, { expected: "a string", got: "the number 3" }],
  ["tags", {}, { expected: "a list", got: "an object" }],
  ["cards", "x", { expected: "a list", got: 'the string "x"' }],
  ["likes", "1", { expected: "a finite number to add, up to 2^53", got: 'the string "1"' }],
  ["settings", [], { expected: "an object", got: "a list of 0" }],
  ["outline", "x", { expected: "a list of nodes {id, parent, …}", got: 'the string "x"' }],
];

/** Trees that are none. */
const brokenTrees: [string, unknown[], { field: string; expected: string; got: string }][] = [
  [
    "an id twice",
    [{ id: "a" }, { id: "a" }],
    { field: "outline[1].id", expected: "an id of its own", got: 'the string "a" for the second time' },
  ],
  ["no id", [{ parent: null }], { field: "outline[0].id", expected: "a string that is not empty", got: "nothing" }],
  [
    "an unknown parent",
    [{ id: "a", parent: "z" }],
    { field: "outline[id=a].parent", expected: "the id of another node, or null", got: 'the string "z"' },
  ],
  [
    "a cycle",
    [
      { id: "a", parent: "b" },
      { id: "b", parent: "a" },
    ],
    { field: "outline[0].parent", expected: "a parent that is not below the node itself", got: 'the string "b"' },
  ],
];

describeEachEngine("Every kind of field", (open) => {
  let t: TestDatabase;
  let node: WorkerNode;
  let engine: DocumentEngine;
  let store: DocumentStore;
  beforeAll(async () => {
    t = await open();
    await declare(t, everyKind);
    node = await startWorkerNode(t, { settings: { pollMs: 50 } });
    engine = createDocumentEngine({ threads: 1 });
    store = new DocumentStore({ engine });
  });
  afterAll(async () => {
    await cleanUp();
    await engine.close();
  });

  const push = (recordId: string, data: object, op = "update") =>
    t.asUser("ada", async (tx) => {
      const changes = JSON.stringify([{ op, table: "pages", id: recordId, data }]);
      const [row] = await tx.query<{ answer: { results: { status: string; error?: { detail: unknown } }[] } }>(
        "select perch.push('notes', $1::jsonb, 'device') as answer",
        [changes],
      );
      return row?.answer.results[0];
    });
  const patchInStore = (recordId: string, patch: object) =>
    withContext(t.db, { userId: "ada" }, (tx) => store.applyPatch(tx, keyOf(recordId), patch));

  /** The ways in: each writes one field of a document of its own. */
  const ways: Record<string, (recordId: string, field: Field, sample: Sample) => Promise<unknown>> = {
    "a SQL patch": (id, field, { patch }) => t.asUser("ada", (tx) => patchDocument(tx, keyOf(id), { [field]: patch })),
    push: async (id, field, { patch }) =>
      expect(await push(id, { [field]: patch }, "insert")).toMatchObject({ status: "applied" }),
    DocumentStore: (id, field, { patch }) => patchInStore(id, { [field]: patch }),
    "a Loro client": async (id, _, { client }) => {
      const doc = new LoroDoc();
      client(doc);
      doc.commit();
      const document = await node.live.open(keyOf(id));
      await document.append([doc.export({ mode: "update" })], ada, undefined);
      document.release();
    },
  };

  for (const [way, write] of Object.entries(ways)) {
    it(`is written by ${way}, shown exactly, round-tripped, and cleared by null`, async () => {
      const cases = samples.map(([field, what, sample], index) => ({
        field,
        what,
        sample,
        id: `${way} ${index}`,
        shown: (way === "a Loro client" ? sample.shownOfClient : undefined) ?? sample.shown ?? sample.patch,
      }));
      for (const { id, field, sample } of cases) await write(id, field, sample);
      for (const { id, field, what, shown } of cases) {
        await eventually(async () => (await record(t.db, keyOf(id)))?.[field] !== undefined);
        expect({ what, ...(await record(t.db, keyOf(id))) }).toEqual({ what, ...nothing, [field]: shown });
      }

      // What a Loro client is given shows the same in another engine.
      for (const { id, field, shown } of cases) {
        const document = await node.live.open(keyOf(id));
        const { updates, leave } = await document.join(new Uint8Array(), () => undefined);
        leave();
        document.release();
        await engine.call(id, "load", [id, { table: "pages", fields: everyKind }, null, updates]);
        expect((await engine.call(id, "project", [id])).data).toEqual({ ...nothing, [field]: shown });
      }

      for (const { id, field } of cases) expect(await push(id, { [field]: null })).toMatchObject({ status: "applied" });
      for (const { id } of cases) {
        await eventually(async () => Object.values((await record(t.db, keyOf(id))) ?? {}).every((one) => one === null));
        expect(await record(t.db, keyOf(id))).toEqual(nothing);
      }
    });
  }

  describe("refuses what it does not take, naming table, field, expected and got", () => {
    it.each(misfits)("%s of %j, whichever way it comes", async (field, value, { expected, got }) => {
      const refusal = { code: "PE422", detail: { table: "pages", field, expected, got } };
      await expect(patchInStore("misfit", { title: "x", [field]: value })).rejects.toMatchObject(refusal);
      // SQL has words of its own.
      const named = {
        code: "PE422",
        detail: { table: "pages", field, expected: expect.any(String), got: expect.any(String) },
      };
      const patched = t.asUser("ada", (tx) => patchDocument(tx, keyOf("misfit"), { [field]: value }));
      await expect(patched).rejects.toMatchObject(named);
      expect(await push("misfit", { [field]: value })).toMatchObject({ status: "rejected", error: named });
      const kind = everyKind[field];
      if (!["string", "number", "integer", "boolean", "datetime"].includes(kind)) return;
      const doc = new LoroDoc();
      doc.getMap("fields").set(field, value as string);
      doc.commit();
      const document = await node.live.open(keyOf("misfit"));
      const appended = document.append([doc.export({ mode: "update" })], ada, undefined);
      await expect(appended).rejects.toMatchObject(refusal);
      document.release();
    });

    it.each(brokenTrees)("a tree with %s", async (_, tree, detail) => {
      await expect(patchInStore("misfit", { title: "x", outline: tree })).rejects.toMatchObject({
        code: "PE422",
        detail: { table: "pages", ...detail },
      });
    });

    it("a Loro client that writes another type of container, or one that is not declared", async () => {
      const document = await node.live.open(keyOf("misfit"));
      for (const [edit, detail] of [
        [
          (doc: LoroDoc) => doc.getList("body").push(1),
          { field: "body", expected: "a text container", got: "a list container" },
        ],
        [
          (doc: LoroDoc) => doc.getText("elsewhere").insert(0, "x"),
          { field: "elsewhere", expected: "a declared field" },
        ],
        [
          (doc: LoroDoc) => doc.getMap("fields").set("body", "x"),
          { field: "body", expected: "the text container of that name" },
        ],
        [(doc: LoroDoc) => doc.getMap("fields").set("other", 1), { field: "other", expected: "a declared field" }],
      ] as const) {
        const doc = new LoroDoc();
        edit(doc);
        doc.commit();
        await expect(document.append([doc.export({ mode: "update" })], ada, undefined)).rejects.toMatchObject({
          code: "PE422",
          detail: { table: "pages", ...detail },
        });
      }
      document.release();
      expect(await record(t.db, keyOf("misfit"))).toBeUndefined();
    });
  });
});
