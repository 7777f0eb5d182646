import { expect, it } from "vitest";
import { describeEachEngine } from "../support/databases.js";

describeEachEngine("The hint of an error", (open) => {
  it("follows from what it says to programs, unless it has one of its own", async () => {
    const t = await open();
    const hintOf = async (call: string) =>
      t.db.query(`select ${call}`).then(
        () => "no error",
        (error: { hint?: string }) => error.hint,
      );
    expect(await hintOf("perch.fail('PE422', 'no', '{}')")).toBeFalsy();
    expect(await hintOf("perch.fail('PE422', 'no')")).toBeFalsy();
    expect(await hintOf("perch.fail('PE422', 'no', '{\"expected\": \"x\"}', 'Do this.')")).toBe("Do this.");
    expect(await hintOf("perch.check_count(0)")).toBe("Expected for max_count: 1 to 10000.");
    expect(await hintOf("perch.set_limit('nothing', 1)")).toMatch(/^Expected for name: clock_tolerance_ms, /);
    expect(await hintOf("perch.check_id(repeat('x', 300), 'app_id')")).toBe("At most 256 may be given.");
    expect(await hintOf("perch.fail('PE413', 'long', '{\"limit\": \"max_patch_bytes\", \"max\": 5}')")).toBe(
      "Send less at once; or let a DBA raise the limit: select perch.set_limit(name => 'max_patch_bytes', value => …).",
    );
    expect(await hintOf("perch.fail('PE404', 'gone', '{\"id\": 1}')")).toMatch(/^Check its ids/);
  });

  it("is in the result of each change that is rejected", async () => {
    const t = await open();
    await t.db.query("create table berths (id text primary key, length int check (length > 0))");
    await t.db.query("alter table berths owner to perch_owner");
    await t.db.query(
      "select perch.sync_table(relation => 'berths', app_id => 'app', space_id => '~ada', writable_columns => '{length}')",
    );
    await t.db.query(`create function raising(args jsonb) returns jsonb language plpgsql security definer
      set search_path = pg_catalog, pg_temp as $$ begin raise exception 'no berth' using hint = 'Ask the harbour.'; end $$`);
    await t.db.query(
      "do $$ begin create role berths_owner nologin; exception when duplicate_object or unique_violation then null; end $$",
    );
    await t.db.query("alter function raising owner to berths_owner");
    await t.db.query("select perch.register_mutator(app_id => 'app', name => 'berth', function => 'raising(jsonb)')");
    const push = (changes: object[], atomic = false) =>
      t.db.transaction(async (tx) => {
        await tx.query("set local role perch_app");
        await tx.query("select perch.set_context(user_id => 'ada')");
        const [row] = await tx.query<{ answer: { results: { status: string; error?: { hint?: string } }[] } }>(
          "select perch.push(app_id => 'app', changes => $1::text::jsonb, client_id => 'x', atomic => $2) as answer",
          [JSON.stringify(changes), atomic],
        );
        return row?.answer.results.map(({ status, error }) => error?.hint ?? status);
      });
    const insert = (more: object) => ({ op: "insert", table: "boats", id: "b1", data: {}, ...more });
    const mend = "The same again is rejected again: mend what the message names, or leave the change out.";
    expect(
      await push([
        insert({ op_id: "1" }),
        insert({ op_id: "1", data: { other: true } }),
        insert({ space_id: "secret" }),
        insert({ table: "" }),
        insert({ id: "x".repeat(300) }),
        insert({ table: "berths", data: { length: -1 } }),
        { op: "update", table: "berths", id: "none", data: { length: 1 } },
        { op: "call", name: "berth", args: {}, op_id: "2" },
        { op: "call", name: "none", args: {}, op_id: "3" },
      ]),
    ).toEqual([
      "applied",
      "Give each change an op_id of its own.",
      expect.stringMatching(/^Its editors and owners write in it: have an owner/),
      expect.any(String),
      "At most 256 may be given.",
      mend,
      expect.stringMatching(/^Check its ids/),
      "Ask the harbour.",
      expect.stringMatching(/./),
    ]);
    expect(await push([insert({ id: "b2" }), insert({ space_id: "secret" })], true)).toEqual([
      "Mend or leave out the change that was rejected, and push the others again as they are.",
      expect.stringMatching(/^Its editors and owners write in it: have an owner/),
    ]);
  });
});
