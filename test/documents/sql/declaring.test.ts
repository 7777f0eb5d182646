import { readdir } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import type { Queryable, Transaction } from "../../../src/database/types.js";
import { containerKinds, scalarKinds } from "../../../src/documents/loro/kinds/index.js";
import { codes, insert, push, records, remove, update } from "../../log/support.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../../support/databases.js";
import { until } from "../../support/until.js";

const declare = (t: { db: Queryable }, table = "tasks") =>
  t.db.query(`select perch.declare_table('todo', $1, '{"title": "string", "n": "integer"}')`, [table]);

describeEachEngine("The kinds of fields", (open) => {
  it("are the same in the database and in TypeScript, where each has a file", async () => {
    const t = await open();
    const rows = await t.db.query("select k.kind, k.is_container from perch.field_kinds k order by k.place");
    const known = [
      ...Object.keys(scalarKinds).map((kind) => ({ kind, is_container: false })),
      ...Object.keys(containerKinds).map((kind) => ({ kind, is_container: true })),
    ];
    expect(rows).toEqual(known);
    const files = await readdir(new URL("../../../src/documents/loro/kinds", import.meta.url));
    const others = ["index.ts", "kind.ts"];
    expect(files.filter((name) => !others.includes(name)).sort()).toEqual(known.map(({ kind }) => `${kind}.ts`).sort());
  });
});

describeEachEngine("A table that has plain records", (open) => {
  it("is not declared a document table, until they are deleted", async () => {
    const t = await open();
    for (let n = 0; n < 5; n++)
      await t.asUser(`user${n}`, (tx) =>
        push(tx, [insert("x", { title: "kept", other: n }), { ...insert("y"), table: "others" }]),
      );
    await expect(declare(t)).rejects.toMatchObject({ code: "PE422", detail: { table: "tasks", id: "x" } });
    await t.asUser("user4", async (tx) => {
      expect(codes(await push(tx, [update("x", { other: 5 })]))).toEqual(["applied"]);
      expect((await records(tx))["~user4/tasks/x"]).toEqual({ title: "kept", other: 5 });
    });
    await declare(t, "pages");
    for (let n = 0; n < 5; n++) await t.asUser(`user${n}`, (tx) => push(tx, [remove("x")]));
    await declare(t);
    await declare(t);
    await t.asUser("user4", async (tx) =>
      expect(codes(await push(tx, [insert("x", { other: 1 })]))).toEqual(["PE422"]),
    );
  });

  it("is none of encrypted documents either, and one of these takes no plain records, by no way in", async () => {
    const t = await open();
    const encrypt = () => t.db.query("select perch.declare_encrypted_table(app_id => 'todo', table_name => 'tasks')");
    await t.asUser("ada", (tx) => push(tx, [insert("x")]));
    await expect(encrypt()).rejects.toMatchObject({ code: "PE422", detail: { table: "tasks", id: "x" } });
    await t.asUser("ada", (tx) => push(tx, [remove("x")]));
    await encrypt();
    await encrypt();
    await t.asUser("ada", async (tx) => {
      const other = { ...insert("y"), table: "others" };
      for (const change of [insert("x", { a: 1 }), insert("x", {}, { op_id: "1" }), update("x"), remove("x")]) {
        expect(codes(await push(tx, [change]))).toEqual(["PE422"]);
        expect(codes(await push(tx, [other, change, { op: "none" }]))).toEqual(["applied", "PE422", "PE422"]);
        expect(codes(await push(tx, [other, change]))).toEqual(["applied", "PE422"]);
      }
      expect(Object.keys(await records(tx))).toEqual(["~ada/others/y"]);
    });
  });

  it("is seen whoever asks, and leaves whose transaction it is as it was", async () => {
    const t = await open();
    await t.asUser("ada", (tx) => push(tx, [insert("x")]));
    await t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context('bob', array['team'])");
      const settings = `select current_setting('app.current_user_id') as who, perch.current_space_ids() as spaces,
                               current_setting('lock_timeout') as patience`;
      const before = await tx.query(settings);
      await tx.query(`select perch.declare_table('todo', 'pages', '{"title": "string"}')`);
      expect(await tx.query(settings)).toEqual(before);
    });
    const declared = t.db.transaction(async (tx) => {
      await tx.query("select perch.set_context('bob', array['team'])");
      await declare({ db: tx });
    });
    await expect(declared).rejects.toMatchObject({ code: "PE422", detail: { space_id: "~ada" } });
  });
});

describeEachPostgres("Declaring a table", (open) => {
  /** Resolves when a session waits for a lock. */
  const someoneWaits = (t: TestDatabase) =>
    until(async () => {
      const waiting = await t.db.query(
        "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
      );
      return waiting.length > 0;
    });
  const asAda = async (tx: Transaction) => void (await tx.query("select perch.set_context('ada')"));
  const ways = {
    "one change": [insert("x", { title: "plain" })],
    "one change with an op_id": [insert("x", { title: "plain" }, { op_id: "x" })],
    "several changes": [insert("x", { title: "plain" }), { ...insert("y"), table: "others" }],
    "several, one of them bad": [insert("x", { title: "plain" }), { op: "none" }],
  };

  for (const [name, changes] of Object.entries(ways)) {
    it(`waits for those who push records to it, and sees what they have committed (${name})`, async () => {
      const t = await open();
      await t.asUser("ada", (tx) => push(tx, [{ ...insert("y"), table: "others" }]));
      let declared: Promise<unknown> = Promise.resolve();
      await t.db.transaction(async (tx) => {
        await asAda(tx);
        expect(codes(await push(tx, changes))[0]).toBe("applied");
        declared = declare(t);
        declared.catch(() => undefined);
        await someoneWaits(t);
      });
      await expect(declared).rejects.toMatchObject({ code: "PE422" });
    });

    it(`makes documents of what is pushed to it meanwhile (${name})`, async () => {
      const t = await open();
      await t.asUser("ada", (tx) => push(tx, [{ ...insert("y"), table: "others" }, insert("z", {}, { op_id: "z" })]));
      await t.asUser("ada", (tx) => push(tx, [remove("z")]));
      let pushed: Promise<unknown> = Promise.resolve();
      await t.db.transaction(async (tx) => {
        await tx.query(`select perch.declare_table('todo', 'tasks', '{"title": "string"}')`);
        pushed = t.asUser("ada", async (other) => expect(codes(await push(other, changes))[0]).toBe("applied"));
        pushed.catch(() => undefined);
        await someoneWaits(t);
      });
      await pushed;
      await t.asUser("ada", async (tx) => {
        expect(Object.keys(await records(tx)).filter((key) => key.includes("/tasks/"))).toEqual([]);
        expect(await tx.query("select record_id from perch.documents")).toEqual([{ record_id: "x" }]);
      });
    });
  }

  describe("while a transaction that pushed stays open", () => {
    it("gives up after two seconds, and lets the others go on", async () => {
      const t = await open();
      await t.db.transaction(async (tx) => {
        await asAda(tx);
        await push(tx, [insert("x")]);
        const declared = expect(declare(t)).rejects.toMatchObject({ code: "PE409" });
        await someoneWaits(t);
        await t.asUser("bob", async (other) => expect(codes(await push(other, [insert("x")]))).toEqual(["applied"]));
        await declared;
      });
    });
  });
});
