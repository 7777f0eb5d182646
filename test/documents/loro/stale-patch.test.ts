import type { PeerID } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import type { ServerPeer } from "../../../src/documents/loro/api.js";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { decodeVersionMap } from "../../../src/documents/loro/format/version-vector.js";
import { afterWriting, serverPeer } from "../../../src/documents/server-peers.js";
import { createFresh, full, replicaOf } from "./support/client.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

describe("a patch based on an older version", () => {
  /** As after so many patches of old versions that no peer is added for one more. */
  const crowd = async ({ replica }: Awaited<ReturnType<typeof fresh>>) => {
    for (let n = 0n; n < 200n; n++) {
      replica.doc.setPeerId(serverPeer(n) as PeerID);
      replica.doc.getMap("fields").set("title", `${n}`);
      replica.doc.commit();
    }
    replica.doc.setPeerId("1");
    await replica.push();
  };

  test.each([
    ["where it is written beside them", false],
    ["where it is written on top of them", true],
  ])("keeps everyone else's edits since, in every kind, %s", async (_, isCrowded) => {
    const document = await fresh();
    const { patch, read, replica, id } = document;
    if (isCrowded) await crowd(document);
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
    const { update, ends } = await engine.call(id, "patch", [id, wanted, { version }]);
    expect(Object.keys(ends)).toHaveLength(1);
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

  test("takes no peer of its own once there are many of perch's, however often an old version is named", async () => {
    const document = await fresh();
    const { id, replica, read, patch } = document;
    await crowd(document);
    await patch({ body: "start." });
    const { version } = await engine.call(id, "snapshot", [id]);
    const base = { ends: Object.fromEntries(decodeVersionMap(version) ?? []) };
    let peers: readonly ServerPeer[] = [];
    for (let n = 0; n < 40; n++) {
      const made = await engine.call(id, "patch", [id, { body: `start.${n % 10}`, likes: 1 }, base, { peers }]);
      peers = afterWriting(peers, made.ends);
    }
    await replica.pull();
    expect(replica.doc.oplogVersion().length()).toBeLessThanOrEqual(203);
    const { likes, body } = await read();
    expect(likes).toBe(40);
    expect(body).toHaveLength("start.".length + 40);
  });

  test("that has its author's last patch in it, but not what that was written on top of, is refused: it would undo edits", async () => {
    const document = await fresh();
    const { id, replica, read, patch } = document;
    await crowd(document);
    await patch({ body: "start" });
    const { version } = await engine.call(id, "snapshot", [id]);
    const seen = Object.fromEntries(decodeVersionMap(version) ?? []);
    await replica.pull();
    replica.doc.getText("body").insert(0, "theirs ");
    await replica.push();
    const { ends } = await engine.call(id, "patch", [id, { body: "start A" }, { ends: seen }]);
    expect((await read()).body).toBe("theirs start A");
    const next = engine.call(id, "patch", [id, { body: "start A B" }, { ends: { ...seen, ...ends } }]);
    await expect(next).rejects.toMatchObject({ code: "PE410" });
    expect((await read()).body).toBe("theirs start A");
    // Who named no base is not refused for what others' patches were merged with.
    const base = { ends: { ...seen, ...ends }, orElse: seen };
    await engine.call(id, "patch", [id, { title: "without a base" }, base]);
    expect(await read()).toMatchObject({ title: "without a base", body: "theirs start A" });
    // Where nobody wrote in between there is nothing to lose.
    const { version: now } = await engine.call(id, "snapshot", [id]);
    await engine.call(id, "patch", [id, { body: "theirs start A B" }, { version: now }]);
    expect((await read()).body).toBe("theirs start A B");
  });

  test("or on none, follows what was pushed before it, also once there are many of perch's peers and others write meanwhile", async () => {
    const document = await fresh();
    const { id, replica, read, patch } = document;
    await crowd(document);
    await patch({ body: "start" });
    const { version } = await engine.call(id, "snapshot", [id]);
    const seen = Object.fromEntries(decodeVersionMap(version) ?? []);
    await replica.pull();
    replica.doc.getText("body").insert(0, "theirs ");
    await replica.push();
    let peers: readonly ServerPeer[] = [];
    const pushed: Record<string, number> = {};
    const push = async (wanted: object) => {
      const base = { ends: { ...seen, ...pushed }, orElse: seen };
      const { ends } = await engine.call(id, "patch", [id, wanted, base, { peers }]);
      peers = afterWriting(peers, ends);
      Object.assign(pushed, ends);
    };
    for (const letter of ["A", "A B", "A B C"]) await push({ title: `to ${letter}`, body: `start ${letter}` });
    expect(await read()).toMatchObject({ title: "to A B C", body: "theirs start A B C" });
    expect(Object.keys(pushed)).toHaveLength(1);
  });

  test("and written on top of edits since, does not win over what was pushed after it without a base", async () => {
    const document = await fresh();
    const { id, replica, read, patch } = document;
    await crowd(document);
    await patch({ title: "start", score: 0, due: "2026-01-01", body: "start" });
    const { version } = await engine.call(id, "snapshot", [id]);
    const seen = Object.fromEntries(decodeVersionMap(version) ?? []);
    await replica.pull();
    replica.doc.getText("body").insert(0, "theirs ");
    await replica.push();
    const first = await engine.call(id, "patch", [id, { title: "one", score: 1, body: "start A" }, { ends: seen }]);
    await replica.pull();
    replica.doc.getMap("fields").set("score", 9);
    await replica.push();
    const base = { ends: { ...seen, ...first.ends }, orElse: seen };
    await engine.call(id, "patch", [id, { title: "two", score: 2, due: "2026-02-02", likes: 1 }, base]);
    // The score was set since by somebody who pushed nothing.
    expect(await read()).toMatchObject({ title: "two", score: 9, due: "2026-02-02", body: "theirs start A", likes: 1 });
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
