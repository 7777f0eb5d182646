import { afterAll, describe, expect, test } from "vitest";
import type { Ends } from "../../../src/documents/loro/api.js";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { seededRandom } from "../../support/traces.js";
import { author, serve } from "./support/author.js";
import { createFresh, full, notes, nothing, projection } from "./support/client.js";
import { randomCommit } from "./support/edits.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

/** The version after some updates, as their ends add up to. */
const sum = (all: readonly Ends[]) => {
  const ends: Record<string, number> = {};
  for (const one of all) for (const [peer, end] of Object.entries(one)) ends[peer] = Math.max(end, ends[peer] ?? 0);
  return ends;
};

describe("an earlier version of a document", () => {
  test("is shown as it was, and can be brought back in every kind, as a new edit", async () => {
    const { id, patch, read, replica } = await fresh();
    const first = await patch(full);
    const then = await read();
    expect((await engine.call(id, "revert", [id, first.ends])).update).toBeNull();
    const second = await patch({
      ...Object.fromEntries(Object.keys(full).map((name) => [name, null])),
      body: "something else",
      outline: [{ id: "other", parent: null }],
      likes: 40,
    });
    const now = await read();
    const at = async (version: Ends) => (await engine.call(id, "projectAt", [id, version])).data;
    expect(await at({})).toEqual(nothing);
    expect(await at(first.ends)).toEqual(then);
    expect(await at(sum([first.ends, second.ends]))).toEqual(now);
    expect(await read()).toEqual(now);

    const { update, ends } = await engine.call(id, "revert", [id, first.ends]);
    expect(await read()).toEqual(then);
    expect(Object.keys(ends)).not.toContain(Object.keys(first.ends)[0]);
    await replica.pull();
    expect(replica.doc.toJSON()).toMatchObject({ body: then.body, tags: then.tags, cards: then.cards });
    expect(update).not.toBeNull();
    // To before anything was written: null is null again, not empty.
    await engine.call(id, "revert", [id, {}]);
    expect(await read()).toEqual(nothing);
  });

  test("comes back around what others wrote meanwhile", async () => {
    const { id, patch, read, replica } = await fresh();
    const good = await patch({ body: "one two three", tags: ["a", "b"], outline: [{ id: "n", parent: null }] });
    await patch({ body: "one two four", tags: ["a"], outline: [] });
    await replica.pull();
    // Written before they heard of it.
    replica.doc.getText("body").insert(0, "zero ");
    replica.doc.getList("tags").insert(0, "z");
    await engine.call(id, "revert", [id, good.ends]);
    await replica.push();
    expect(await read()).toMatchObject({
      body: "zero one two three",
      tags: ["z", "a", "b"],
      outline: [{ id: "n", parent: null }],
    });
    await replica.pull();
    expect(replica.doc.getText("body").toString()).toBe("zero one two three");
  });

  test("that the document never had is refused, and so is one without its past", async () => {
    const { id, patch, read, replica } = await fresh();
    await patch({ title: "x" });
    await replica.pull();
    replica.doc.getText("body").insert(0, "built on the title");
    await replica.push();
    const versions: Ends[] = [{ 99: 10 }, { nobody: 1 }, { 99: -1 }, { [replica.doc.peerIdStr]: 3 }];
    for (const version of versions) {
      const refusal = { code: "PE422" };
      await expect(engine.call(id, "projectAt", [id, version])).rejects.toMatchObject(refusal);
      await expect(engine.call(id, "revert", [id, version])).rejects.toMatchObject(refusal);
      await engine.call(id, "load", [id, notes, null, [replica.doc.export({ mode: "update" })]]);
    }
    expect(await read()).toMatchObject({ title: "x", body: "built on the title" });
  });

  test("by property: every version is shown and restored as it was, by updates that other engines accept", async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = seededRandom(seed);
      const document = serve(engine, `versions ${seed}`);
      await engine.call(document.id, "load", [document.id, notes, null, []]);
      const writers = [author(document, random), author(document, random)];
      const seen: { version: Ends; data: unknown }[] = [{ version: {}, data: nothing }];
      let version: Ends = {};
      for (let step = 0; step < 15; step++) {
        const { doc } = writers[step % 2] as (typeof writers)[number];
        // Sometimes they know what the other wrote, sometimes they are concurrent.
        if (random() < 0.4) doc.importBatch(document.stored);
        for (let count = 0; count < 3; count++) randomCommit(doc, random);
        const known = document.stored.length > 0 ? await versionOf(document.id) : Uint8Array.of(0);
        const news = await newsOf(doc.export({ mode: "update" }), known, document.id);
        if (news.update) {
          version = sum([version, news.ends]);
          document.stored.push(news.update);
        }
        seen.push({ version, data: await projection(engine, document.id) });
      }
      for (const past of seen.filter((_, index) => index % 3 === seed % 3)) {
        expect((await engine.call(document.id, "projectAt", [document.id, past.version])).data).toEqual(past.data);
        const { update } = await engine.call(document.id, "revert", [document.id, past.version]);
        const now = await projection(engine, document.id);
        expect(now).toEqual(past.data);
        if (!update) continue;
        const other = `another ${seed}`;
        await engine.call(document.id, "load", [other, notes, null, document.stored]);
        await engine.call(document.id, "import", [other, [update]]);
        expect(await projection(engine, other)).toEqual(now);
        document.stored.push(update);
      }
    }
  });

  const versionOf = async (id: string) => (await engine.call(id, "exportFrom", [id, Uint8Array.of(0)])).version;

  /** Imports all that a writer has; what of it was new. */
  async function newsOf(update: Uint8Array, before: Uint8Array, id: string) {
    const { changed, ends } = await engine.call(id, "import", [id, [update]]);
    const { updates } = await engine.call(id, "exportFrom", [id, before]);
    return { update: changed ? updates[0] : undefined, ends };
  }
});
