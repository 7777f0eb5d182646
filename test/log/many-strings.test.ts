import { expect, it } from "vitest";
import { DocumentStore } from "../../src/documents/store/store.js";
import { describeEachEngine } from "../support/databases.js";
import { insert, pull, push, snapshot, update } from "./support.js";

/**
 * Postgres copies the strings inside a value that it aggregates (jsonb_agg, jsonb_object_agg) by a way that takes the square of their
 * number, and that neither a cancel nor a timeout ends. Were one of these values aggregated so, this would take minutes.
 */
describeEachEngine("A value of very many short strings", (open) => {
  it("costs what its bytes cost, wherever it goes", async () => {
    const t = await open();
    await t.db.query(
      `select perch.declare_table(app_id => 'app', table_name => 'lists', fields => '{"words": "json"}')`,
    );
    const words = Array.from({ length: 150_000 }, () => "a");
    await t.asUser("ada", async (tx) => {
      // Out of the ordinary, so that each step is taken: a key that is null, a time before the one that is there.
      for (const change of [
        insert("many", { words, other: 1 }, { origin: null, actor: { id: "x" } }),
        update("many", { words: [...words, "b"], more: 1 }, { at: "2020-01-01T00:00:00Z" }),
      ])
        expect(await push(tx, [change])).toMatchObject([{ status: "applied" }]);
      expect((await pull(tx)).changes[0]?.data).toEqual({ words, other: 1 });
      expect((await snapshot(tx)).records[0]?.data).toEqual({ words, other: 1, more: 1 });
      await tx.query("select perch.set_tenant(tenant_id => 'acme')");
      await tx.query("select perch.put_checkpoint(thread_id => 't', state => $1, step => 1)", [
        JSON.stringify({ words, other: 1 }),
      ]);
      const [head] = await tx.query<{ state: object }>("select state from perch.latest_checkpoint(thread_id => 't')");
      expect(head?.state).toEqual({ words, other: 1 });
    });
    const store = new DocumentStore();
    const few = words.slice(0, 90_000);
    const page = { appId: "app", tableName: "lists", recordId: "l" };
    await t.asUser("ada", (tx) => store.applyPatch(tx, page, { words: few }));
    const found = await t.asUser("ada", async (tx) => (await pull(tx, { appId: "app" })).changes[0]?.data);
    expect(found).toEqual({ words: few });
  }, 60_000);

  it("costs what its bytes cost as the keys of calls, too", async () => {
    const t = await open();
    const keys = Array.from({ length: 60_000 }, (_, n) => `"k${n.toString(36)}":null`).join();
    const calls = Array.from({ length: 7 }, () => `{"op":"call","name":"none",${keys}}`).join();
    await t.asUser("ada", async (tx) => {
      await tx.query("set local statement_timeout = '8s'");
      const [row] = await tx.query<{ codes: string[] }>(
        `select array(select r #>> '{error,code}' from jsonb_array_elements(
           perch.push(app_id => 'app', changes => $1::jsonb, client_id => 'phone') -> 'results') r) as codes`,
        [`[${calls}]`],
      );
      expect(row?.codes).toEqual(Array(7).fill("PE404"));
    });
  }, 60_000);
});
