import { LoroDoc } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import type { Ends } from "../../../src/documents/loro/api.js";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { notes, projection } from "./support/client.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());

/** A replica of the incarnation that ended, with an empty document of the next in the engine. */
async function nextLife(
  id: string,
): Promise<{ old: LoroDoc; ended: Ends; take(update: Uint8Array): Promise<unknown> }> {
  const old = new LoroDoc();
  old.getText("body").insert(0, "old life");
  old.commit();
  const ended = Object.fromEntries(old.oplogVersion().toJSON());
  await engine.call(id, "load", [id, notes, null, [], ended]);
  return { old, ended, take: (update) => engine.call(id, "import", [id, [update]]) };
}

const late = { code: "PE410", detail: { reason: "deleted" } };

describe("a document created again under the id of a deleted one", () => {
  test("refuses what the old incarnation had, as updates or as a snapshot, and stays as it is", async () => {
    const { old, take } = await nextLife("repeated");
    await expect(take(old.export({ mode: "update" }))).rejects.toMatchObject(late);
    await expect(take(old.export({ mode: "snapshot" }))).rejects.toMatchObject(late);
    expect(await engine.call("repeated", "has", ["repeated"])).toBe(true);
    expect(await projection(engine, "repeated")).toMatchObject({ body: null });
  });

  test("refuses what the old incarnation's writers typed later, and what others typed on top of it", async () => {
    const { old, take } = await nextLife("later");
    const other = new LoroDoc();
    other.import(old.export({ mode: "update" }));
    for (const doc of [old, other]) {
      const from = doc.oplogVersion();
      doc.getText("body").insert(3, " and late");
      doc.commit();
      await expect(take(doc.export({ mode: "update", from }))).rejects.toMatchObject(late);
    }
  });

  test("takes what is typed in it, by writers with new peer ids, patches and updates alike", async () => {
    const { ended, take } = await nextLife("new");
    const [one, two] = [new LoroDoc(), new LoroDoc()];
    one.getText("body").insert(0, "new");
    one.commit();
    await take(one.export({ mode: "update" }));
    const { update } = await engine.call("new", "patch", ["new", { title: "again" }, "head"]);
    two.import(one.export({ mode: "update" }));
    two.import(update ?? new Uint8Array());
    two.getText("body").insert(3, " life");
    two.commit();
    await take(two.export({ mode: "snapshot" }));
    const { snapshot } = await engine.call("new", "snapshot", ["new"]);
    // What is stored was let in when it came.
    await engine.call("new", "load", ["new", notes, snapshot, [], ended]);
    expect(await projection(engine, "new")).toMatchObject({ body: "new life", title: "again" });
  });
});
