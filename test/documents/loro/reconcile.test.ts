import { LoroMap, LoroText } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { createFresh, full, openDocument, projection } from "./support/client.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

describe("reconciling", () => {
  test("a movable list moves items rather than writing them again, and sets those whose id stays", async () => {
    const { patch, read, replica } = await fresh();
    await patch({ cards: ["a", "b", "c", "d", { id: 1, text: "x" }] });
    await replica.pull();
    const before = replica.doc.opCount();
    await patch({ cards: [{ id: 1, text: "y" }, "a", "b", "c", "d"] });
    await replica.pull();
    // One move and one set.
    expect(replica.doc.opCount() - before).toBe(2);
    expect((await read()).cards).toEqual([{ id: 1, text: "y" }, "a", "b", "c", "d"]);
  });

  test("a list deletes and inserts only what differs", async () => {
    const { patch, replica } = await fresh();
    const items = Array.from({ length: 500 }, (_, index) => index);
    await patch({ tags: items });
    await replica.pull();
    const before = replica.doc.opCount();
    await patch({ tags: [...items.slice(0, 100), "new", ...items.slice(101, 400), ...items.slice(401)] });
    await replica.pull();
    expect(replica.doc.opCount() - before).toBe(3);
  });

  test("a tree moves nodes, and their identity and children go along", async () => {
    const { patch, read, replica } = await fresh();
    await patch({ outline: full.outline });
    await replica.pull();
    const leaf = replica.doc
      .getTree("outline")
      .getNodes()
      .find((node) => node.data.get("id") === "leaf");
    const before = replica.doc.opCount();
    const moved = [full.outline[2], full.outline[0], { ...full.outline[1], parent: "second" }];
    await patch({ outline: moved });
    await replica.pull();
    expect(replica.doc.opCount() - before).toBe(2);
    expect(leaf?.parent()?.data.get("id")).toBe("second");
    expect(await read()).toMatchObject({ outline: [moved[0], moved[2], moved[1]] });
    await patch({ outline: [moved[1]] });
    expect(await read()).toMatchObject({ outline: [moved[1]] });
  });

  test("a tree keeps the names of its nodes where one goes whose id another claimed, too", async () => {
    const { patch, read, replica } = await fresh();
    const tree = replica.doc.getTree("outline");
    for (const label of ["first", "second"]) {
      const node = tree.createNode();
      node.data.set("id", "a");
      node.data.set("label", label);
    }
    await replica.push();
    const outline = (await read()).outline as { id: string; label: string }[];
    const [owner, other] = outline;
    expect(new Set(outline.map(({ id }) => id)).size).toBe(2);
    const kept = outline.filter(({ id }) => id !== "a");
    expect(kept).toHaveLength(1);
    await patch({ outline: kept });
    expect((await read()).outline).toEqual(kept);
    expect([owner?.label, other?.label].sort()).toEqual(["first", "second"]);
    await patch({ outline: [...kept, { id: "a", parent: null, label: "third" }] });
    expect((await read()).outline).toEqual([...kept, { id: "a", parent: null, label: "third" }]);
  });

  test("containers that a client nested inside are changed in place", async () => {
    const { patch, read, replica } = await fresh();
    const card = replica.doc.getMovableList("cards").insertContainer(0, new LoroMap());
    card.set("id", "c1");
    card.setContainer("text", new LoroText()).insert(0, "hello world");
    replica.doc.getList("tags").insertContainer(0, new LoroMap()).set("x", 1);
    replica.doc.getMap("settings").setContainer("deep", new LoroMap()).set("y", 1);
    await replica.push();
    await patch({ cards: [{ id: "c1", text: "hello, world" }], tags: [{ x: 2 }], settings: { deep: { y: 1, z: 2 } } });
    card.set("more", true);
    replica.doc.commit();
    await replica.push();
    await replica.pull();
    expect(await read()).toMatchObject({
      cards: [{ id: "c1", text: "hello, world", more: true }],
      tags: [{ x: 2 }],
      settings: { deep: { y: 1, z: 2 } },
    });
  });

  test("text is merged by diff, so typing elsewhere in it stays", async () => {
    const { patch, read, replica } = await fresh();
    await patch({ body: "The quick brown fox jumps over the lazy dog" });
    await replica.pull();
    replica.doc.getText("body").insert(4, "very ");
    const updates = replica.doc.opCount();
    await patch({ body: "A quick brown fox jumps over the sleeping dog" });
    await replica.push();
    expect((await read()).body).toBe("A very quick brown fox jumps over the sleeping dog");
    await replica.pull();
    expect(replica.doc.opCount() - updates).toBeLessThan(30);
  });

  test("a text that cannot be compared in time is compared by line", async () => {
    const hasty = createDocumentEngine({ threads: 1, limits: { textDiffMs: 1 } });
    try {
      const random = (seed: number) => Array.from({ length: 3_000 }, (_, i) => `${(i * seed * 7919) % 10_007} words\n`);
      await openDocument(hasty, "long");
      const [before, after] = [random(3), random(7)];
      const kept = before.slice(0, 1_000);
      await hasty.call("long", "patch", [
        "long",
        { body: ["first\n", ...kept, ...before.slice(1_000)].join("") },
        "head",
      ]);
      const wanted = ["1st\n", ...kept, ...after.slice(1_000)].join("");
      await hasty.call("long", "patch", ["long", { body: wanted }, "head"]);
      expect((await projection(hasty, "long")).body).toBe(wanted);
    } finally {
      await hasty.close();
    }
  });

  test("every patch writes under a peer id of its own", async () => {
    const { patch, replica } = await fresh();
    for (let index = 0; index < 20; index++) await patch({ title: `${index}` });
    await replica.pull();
    expect(replica.doc.oplogVersion().toJSON().size).toBe(20);
  });
});
