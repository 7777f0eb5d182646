import { LoroDoc, LoroMap } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { describeEachEngine } from "../../support/databases.js";
import { createFresh, notes } from "./support/client.js";

// What is refused is refused for what it is, and not for its time.
const engine = createDocumentEngine({ threads: 1, timeoutMs: 60_000 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

function madeBy(edit: (doc: LoroDoc) => void): Uint8Array {
  const doc = new LoroDoc();
  edit(doc);
  doc.commit();
  return doc.export({ mode: "update" });
}

async function open() {
  const document = await fresh();
  return {
    ...document,
    take: (...updates: Uint8Array[]) => engine.call(document.id, "import", [document.id, updates]),
  };
}

/** As JSON gives it, with the key as an ordinary one. */
const deep = (levels: number): object => JSON.parse(`{"__proto__": ${"[".repeat(levels)}${"]".repeat(levels)}}`);

describe("the key __proto__", () => {
  const ways: [string, (doc: LoroDoc) => void][] = [
    ["in a value", (doc) => doc.getMap("fields").set("extra", deep(3_000))],
    ["inside an item of a list", (doc) => doc.getList("tags").insert(0, [{ a: deep(1) }])],
    ["in a value of a map", (doc) => doc.getMap("settings").set("a", { b: deep(200) })],
    ["of a map", (doc) => doc.getMap("settings").set("__proto__", 1)],
    ["of a map in a map", (doc) => doc.getMap("settings").setContainer("a", new LoroMap()).set("__proto__", {})],
    ["of a tree node's data", (doc) => doc.getTree("outline").createNode().data.set("__proto__", "x")],
    [
      "beside an integer that JavaScript cannot hold",
      (doc) => doc.getMap("settings").set("a", { ...deep(2), n: 2 ** 53 + 2 }),
    ],
  ];
  test.each(ways)("%s is refused, by its name, and costs nobody a thread", async (_where, edit) => {
    const { take } = await open();
    const { replaced } = engine.stats();
    await expect(take(madeBy(edit))).rejects.toMatchObject({ code: "PE422", message: /__proto__/ });
    expect(engine.stats().replaced).toBe(replaced);
  });

  test("in a patch is refused", async () => {
    const { id } = await open();
    for (const patch of [
      '{"extra": {"__proto__": 1}}',
      '{"settings": {"__proto__": {}}}',
      '{"tags": [{"__proto__": 1}]}',
    ])
      await expect(engine.call(id, "patch", [id, patch, "head"])).rejects.toMatchObject({
        code: "PE422",
        message: /__proto__/,
      });
  });
});

describeEachEngine("A field named __proto__", (openDatabase) => {
  test("cannot be declared", async () => {
    const { db } = await openDatabase();
    await expect(
      db.query(`select perch.declare_table('notes', 'odd', '{"__proto__": "string"}')`),
    ).rejects.toMatchObject({ code: "PE422" });
  });
});

describe("a value counts by what is in it", () => {
  test("one of more than 100,000 items is refused, and says so", async () => {
    const { take, read } = await open();
    const { replaced } = engine.stats();
    await expect(
      take(madeBy((doc) => doc.getMap("fields").set("extra", Array(1_700_000).fill(1e308)))),
    ).rejects.toMatchObject({ code: "PE413", detail: { limit: "value_nodes", max: 100_000, field: "extra" } });
    expect(engine.stats().replaced).toBe(replaced);
    const { id } = await open();
    const patch = engine.call(id, "patch", [id, { extra: Array(100_001).fill(0) }, "head"]);
    await expect(patch).rejects.toMatchObject({ code: "PE413", detail: { limit: "value_nodes" } });
    expect(await read().catch(() => ({}))).not.toMatchObject({ extra: expect.any(Array) });
  });

  test("an update holds no more of it than of operations", async () => {
    const small = createDocumentEngine({ threads: 1, limits: { updateOps: 1_000 } });
    try {
      await small.call("d", "load", ["d", notes, null, []]);
      const update = madeBy((doc) => {
        for (let n = 0; n < 3; n++) doc.getMap("settings").set(`${n}`, Array(400).fill(n));
      });
      await expect(small.call("d", "import", ["d", [update]])).rejects.toMatchObject({
        code: "PE413",
        detail: { limit: "update_ops", max: 1_000 },
      });
    } finally {
      await small.close();
    }
  });

  test("a document that could not be shown as JSON is refused, whichever way it grows, and is shown all the same", async () => {
    const max = 64 * 1024;
    const small = createDocumentEngine({ threads: 1, limits: { projectedBytes: max } });
    try {
      await small.call("d", "load", ["d", notes, null, []]);
      const doc = new LoroDoc();
      const stored: Uint8Array[] = [];
      const reload = () => small.call("d", "load", ["d", notes, null, stored]);
      let refusal: unknown;
      for (let n = 0; refusal === undefined && n < 100; n++) {
        const from = doc.oplogVersion();
        // Nine bytes each in an update, and 309 in a record.
        doc.getMap("settings").set(`${n}`, Array(20).fill(1e308));
        doc.commit();
        const update = doc.export({ mode: "update", from });
        await small.call("d", "import", ["d", [update]]).then(
          () => stored.push(update),
          (error: unknown) => {
            refusal = error;
          },
        );
      }
      const tooLarge = { code: "PE413", detail: { limit: "projected_bytes", max, table: "notes" } };
      expect(refusal).toMatchObject(tooLarge);
      await reload();
      await expect(small.call("d", "patch", ["d", { body: "x".repeat(max) }, "head"])).rejects.toMatchObject(tooLarge);
      await reload();
      await small.call("d", "patch", ["d", { title: "short" }, "head"]);
      const { data } = await small.call("d", "project", ["d"]);
      expect(data).toMatchObject({ title: "short" });
      expect(JSON.stringify(data).length).toBeLessThan(max);
    } finally {
      await small.close();
    }
  });
});
