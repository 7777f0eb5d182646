import { beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { push as pushTyped } from "../../src/log/index.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { type Change, codes, insert, pull, type Result, records, remove, update } from "./support.js";

const page = (id: string, data: object, more: Change = {}): Change => ({
  op: "update",
  table: "pages",
  id,
  data,
  ...more,
});

describeEachEngine("An atomic push", (open) => {
  let t: TestDatabase;
  let users = 0;
  beforeAll(async () => {
    t = await open();
    await t.db.query("select perch.declare_table('todo', 'pages', '{\"title\": \"string\"}')");
    await t.db.query(
      "alter table perch.stored_records add constraint short_titles check (length(data ->> 'title') < 10)",
    );
  });
  const as = <T>(who: string, work: (tx: Transaction) => Promise<T>) => t.asUser(who, work);
  const nobody = () => `user${++users}`;
  const push = async (tx: Transaction, changes: unknown): Promise<Result[]> => {
    const [row] = await tx.query<{ answer: { results: Result[] } }>(
      "select perch.push(app_id => 'todo', changes => $1::jsonb, client_id => 'phone', atomic => true) as answer",
      [JSON.stringify(changes)],
    );
    return row?.answer.results ?? [];
  };

  it("applies all of its changes, of records and documents, as one transaction of the log", async () => {
    const me = nobody();
    const results = await as(me, (tx) => push(tx, [insert("a"), page("p", { title: "T" }), insert("b"), remove("a")]));
    expect(codes(results)).toEqual(["applied", "applied", "applied", "applied"]);
    const { changes } = await as(me, (tx) => pull(tx));
    expect(changes.map(({ id, op }) => `${op} ${id}`)).toEqual(["insert a", "insert b", "delete a"]);
    expect(new Set(changes.map(({ txid }) => txid)).size).toBe(1);
  });

  const faults: [string, Change, string][] = [
    ["is malformed", { op: "insert", table: "tasks" }, "PE422"],
    ["goes where the user may not write", insert("x", {}, { space_id: "elsewhere" }), "PE403"],
    ["a rule of the app's refuses", insert("x", { title: "much too long" }), "PE422"],
    ["a document cannot take", page("p", { title: 1 }), "PE422"],
  ];
  for (const [what, fault, code] of faults) {
    it(`applies nothing when one of its changes ${what}`, async () => {
      const me = nobody();
      const batch = [insert("a", {}, { op_id: "1" }), page("p", { title: "T" }, { op_id: "2" }), fault, insert("b")];
      for (let attempt = 0; attempt < 2; attempt += 1) {
        const results = await as(me, (tx) => push(tx, batch));
        expect(codes(results)).toEqual(["PE409", "PE409", code, "PE409"]);
        expect(results[0]).toEqual({
          op_id: "1",
          status: "rejected",
          space_id: `~${me}`,
          seq: null,
          error: {
            code: "PE409",
            message: expect.stringMatching(/^conflict: aborted/),
            detail: { reason: "aborted", at: 2, op_id: null },
            hint: expect.stringMatching(/^Mend or leave out/),
          },
        });
      }
      const [left] = await t.db.query<{ count: number }>(
        `select (select count(*) from perch.sync_changes where space_id = $1)::int
              + (select count(*) from perch.document_inbox where space_id = $1)::int
              + (select count(*) from perch.push_receipts where space_id = $1)::int
              + (select count(*) from perch.space_heads where space_id = $1 and seq > 0)::int as count`,
        [`~${me}`],
      );
      expect(left?.count).toBe(0);
      // None has used its op_id up.
      const good = batch.filter((change) => change !== fault);
      expect(codes(await as(me, (tx) => push(tx, good)))).toEqual(["applied", "applied", "applied"]);
    });
  }

  it("is answered as a whole when it comes again", async () => {
    const me = nobody();
    const batch = [insert("a", {}, { op_id: "1" }), insert("b", {}, { op_id: "2" }), page("p", {}, { op_id: "3" })];
    const first = await as(me, (tx) => push(tx, batch));
    const again = await as(me, (tx) => push(tx, batch));
    expect(codes(again)).toEqual(["replayed", "replayed", "replayed"]);
    expect(again.map(({ seq }) => seq)).toEqual(first.map(({ seq }) => seq));
    expect((await as(me, (tx) => pull(tx))).changes).toHaveLength(2);
  });

  it("tells what was applied before from what repeats a change of its own", async () => {
    const me = nobody();
    const [old, fresh] = [insert("old", {}, { op_id: "old" }), insert("new", {}, { op_id: "new" })];
    await as(me, (tx) => push(tx, [old]));
    const results = await as(me, (tx) => push(tx, [old, fresh, fresh, insert("x", {}, { space_id: "elsewhere" })]));
    expect(codes(results)).toEqual(["replayed", "PE409", "PE409", "PE403"]);
    expect(Object.keys(await as(me, records))).toEqual([`~${me}/tasks/old`]);
  });

  it("of an op_id that was used for something else applies nothing", async () => {
    const me = nobody();
    await as(me, (tx) => push(tx, [insert("a", {}, { op_id: "1" })]));
    const results = await as(me, (tx) => push(tx, [insert("b"), update("a", { n: 1 }, { op_id: "1" })]));
    expect(results.map(({ error }) => error?.detail.reason ?? error?.message)).toEqual([
      "aborted",
      "conflict: this op_id was used for another change",
    ]);
    expect(Object.keys(await as(me, records))).toEqual([`~${me}/tasks/a`]);
  });

  it("leaves the caller's transaction usable, and what it wrote before", async () => {
    const me = nobody();
    await as(me, async (tx) => {
      await push(tx, [insert("before")]);
      expect(codes(await push(tx, [insert("a"), insert("x", {}, { space_id: "elsewhere" })]))).toEqual([
        "PE409",
        "PE403",
      ]);
      await push(tx, [insert("after")]);
    });
    const { changes } = await as(me, (tx) => pull(tx));
    expect(changes.map(({ id, seq }) => [id, seq])).toEqual([
      ["before", 1],
      ["after", 2],
    ]);
  });

  it("is an option of push in TypeScript, also for what the database cannot be asked about", async () => {
    const me = nobody();
    const typed = (title: string) =>
      as(me, (tx) =>
        pushTyped(tx, {
          appId: "todo",
          atomic: true,
          changes: [
            { op: "insert", table: "tasks", id: "a", op_id: "1" },
            { op: "insert", table: "tasks", id: "b", data: { title } },
          ],
        }),
      );
    const refused = await typed("\u0000");
    expect(refused.results).toMatchObject([
      { op_id: "1", status: "rejected", error: { code: "PE409", detail: { reason: "aborted", at: 1 } } },
      { status: "rejected", error: { code: "PE422" } },
    ]);
    expect(await as(me, records)).toEqual({});
    expect((await typed("fine")).results.map(({ status }) => status)).toEqual(["applied", "applied"]);
  });
});
