import { LoroDoc } from "loro-crdt";
import { MessageType } from "loro-protocol";
import { expect, it } from "vitest";
import { DocumentStore } from "../../src/documents/store/store.js";
import { connect, declare, eventually, keyOf, storedText } from "../documents/live/support.js";
import { rawClient, startNode as startGatewayNode } from "../gateway/support.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { inbox, pushUpdate, replica, startWorkerNode } from "../worker/support.js";

const key = keyOf("again");
const deleteSql = "select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => 'again')";

/** A document that was written, deleted, and is being written anew. Out: the update of a writer who was offline meanwhile, twice. */
async function secondLife(t: TestDatabase, store: DocumentStore) {
  await declare(t);
  const offline = replica();
  const first = offline.type("old");
  await t.asUser("ada", async (tx) => {
    await store.applyUpdate(tx, key, first);
    await tx.query(deleteSql);
  });
  await t.asUser("ada", (tx) => store.applyPatch(tx, key, { body: "new" }));
  return { first, later: offline.type(" and late") };
}

describeEachEngine("late updates of a deleted document, when its id is in use again,", (open) => {
  it("are refused by all ways in, with PE410, and reach nobody", async () => {
    const t = await open();
    const store = new DocumentStore();
    try {
      const { first, later } = await secondLife(t, store);
      const node = await startWorkerNode(t);
      const reader = await connect(node, key);

      for (const update of [first, later]) {
        // In a transaction of the application's own.
        await expect(t.asUser("ada", (tx) => store.applyUpdate(tx, key, update))).rejects.toMatchObject({
          code: "PE410",
          detail: { reason: "deleted" },
        });
        // By a live document.
        await expect(reader.document.append([update], { userId: "ada" }, "late")).rejects.toMatchObject({
          code: "PE410",
        });
        // By SQL: set aside by the worker.
        await t.asUser("ada", (tx) => pushUpdate(tx, key, update));
      }
      await eventually(async () => (await inbox(node.db)).every(({ status }) => status === "rejected"));
      expect((await inbox(node.db)).map(({ error }) => error)).toMatchObject([
        { code: "PE410", detail: { reason: "deleted" } },
        { code: "PE410", detail: { reason: "deleted" } },
      ]);

      // By a client of the gateway, who hears that the update is no good.
      const gateway = await startGatewayNode(t);
      const client = await rawClient(gateway);
      await client.join("/notes/pages/again", { token: "ada" });
      expect(await client.update("/notes/pages/again", [first])).toBe(4);

      await reader.type("!");
      await client.join("/notes/pages/again", { token: "ada" });
      const fresh = new LoroDoc();
      fresh.importBatch((await client.next(MessageType.DocUpdate)).updates);
      expect(fresh.getText("body").toString()).toMatch(/^new!?$/);
      expect(reader.text()).toBe("new!");
      await eventually(async () => (await storedText(node.db, key)) === "new!");
      expect(await t.asUser("ada", (tx) => store.applyPatch(tx, key, { title: "x" }))).toMatchObject({
        data: { body: "new!", title: "x" },
      });
    } finally {
      await store.close();
    }
  });
});
