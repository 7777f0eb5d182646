import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { createFresh, full, replicaOf } from "./support/client.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

describe("a patch based on an older version", () => {
  test("keeps everyone else's edits since, in every kind", async () => {
    const { patch, read, replica, id } = await fresh();
    await patch(full);
    const { snapshot, version } = await engine.call(id, "snapshot", [id]);
    await replica.pull();
    replica.doc.getText("body").insert(0, "So: ");
    replica.doc.getList("tags").insert(0, "theirs");
    replica.doc.getMovableList("cards").insert(2, "theirs");
    replica.doc.getMap("settings").set("theirs", 1);
    replica.doc.getMap("fields").set("done", false);
    replica.doc.getTree("outline").createNode().data.set("name", "theirs");
    await replica.push();
    // The whole record as it was read, with one's own changes in it.
    const wanted = {
      ...full,
      title: "Journey",
      body: "héllo 🎉!",
      tags: [...full.tags, "mine"],
      cards: [full.cards[1], full.cards[0]],
      settings: { ...full.settings, dark: false },
      outline: [...full.outline, { id: "mine", parent: "leaf" }],
      likes: 3,
    };
    const { update } = await engine.call(id, "patch", [id, wanted, { version }]);
    const merged = await read();
    expect(merged).toMatchObject({
      title: "Journey",
      done: false,
      body: "So: héllo 🎉!",
      tags: ["theirs", ...full.tags, "mine"],
      cards: expect.arrayContaining(["theirs", "plain", full.cards[0]]),
      settings: { dark: false, nested: { a: 1 }, theirs: 1 },
      likes: 5,
    });
    expect(merged.outline).toHaveLength(5);
    // Somebody who has the older state and the edits gets the same from the update.
    const other = replicaOf(engine, id);
    other.doc.import(snapshot);
    other.doc.import(replica.doc.export({ mode: "update" }));
    other.doc.import(update ?? new Uint8Array());
    await replica.pull();
    expect(other.doc.toJSON()).toEqual(replica.doc.toJSON());
  });

  test("is the same whether the base is named by its version or by what the document consisted of", async () => {
    const { patch, read, id, replica } = await fresh();
    const updates: Uint8Array[] = [];
    for (const body of ["one", "one two", "one two three"])
      updates.push((await patch({ body })).update ?? new Uint8Array());
    const base = { snapshot: null, updates: updates.slice(0, 2) };
    await engine.call(id, "patch", [id, { body: "zero one two" }, base]);
    expect((await read()).body).toBe("zero one two three");
    const { snapshot } = await engine.call(id, "snapshot", [id]);
    await patch({ body: "zero one two three four" });
    await engine.call(id, "patch", [id, { body: "one two three" }, { snapshot, updates: [] }]);
    expect((await read()).body).toBe("one two three four");
    const { ends } = await patch({ score: 1 });
    expect(Object.values(ends)).toEqual([1]);
    await engine.call(id, "patch", [id, { title: "from nothing", score: 2 }, { ends: {} }]);
    expect(await read()).toMatchObject({ title: "from nothing", body: "one two three four" });
    await engine.call(id, "patch", [id, { title: "from nothing" }, { version: new Uint8Array([0]) }]);
    expect(await read()).toMatchObject({ title: "from nothing", body: "one two three four" });
    await replica.pull();
    expect(replica.doc.getText("body").toString()).toBe("one two three four");
  });

  test("that the document never had is refused", async () => {
    const { id, patch } = await fresh();
    await patch({ title: "x" });
    const ahead = new Uint8Array([1, 99, 10]);
    await expect(engine.call(id, "patch", [id, { title: "y" }, { version: ahead }])).rejects.toMatchObject({
      code: "PE422",
    });
  });
});
