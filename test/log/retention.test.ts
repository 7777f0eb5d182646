import { expect, it } from "vitest";
import { describeEachEngine } from "../support/databases.js";
import { codes, insert, pull, pullAll, push, records, snapshot } from "./support.js";

const many = (count: number, more = {}) =>
  Array.from({ length: count }, (_, n) => insert(`r${n}`, { n }, { op_id: `op${n}`, ...more }));

describeEachEngine("Retention", (open) => {
  it("forgets what is both old and not among the last, in batches, and never a record", async () => {
    const t = await open();
    const prune = (keepFor: string, keepLast: number) =>
      t.asWorker(async (tx) => {
        await tx.query("select set_config('perch.prune_batch', '30', true)");
        const [row] = await tx.query<{ pruned: number }>("select perch.prune_changes($1, $2) as pruned", [
          keepFor,
          keepLast,
        ]);
        return row?.pruned;
      });
    await t.asUser("ada", (tx) => push(tx, many(100)));
    await t.asUser("bob", (tx) => push(tx, many(5)));
    expect(await prune("1 hour", 0)).toBe(0);
    expect(await prune("0", 1000)).toBe(0);
    expect([await prune("0", 10), await prune("0", 10), await prune("0", 10), await prune("0", 10)]).toEqual([
      30, 30, 30, 0,
    ]);
    await t.asUser("ada", async (tx) => {
      expect(Object.keys(await records(tx))).toHaveLength(100);
      const { cursor } = await snapshot(tx);
      await push(tx, [insert("new")]);
      expect((await pull(tx, { cursor })).changes.map(({ seq }) => seq)).toEqual([101]);
    });
    expect((await t.asUser("bob", (tx) => pull(tx))).changes).toHaveLength(5);
    expect([await prune("0", 0), await prune("0", 0), await prune("0", 0)]).toEqual([16, 0, 0]);
  });

  it("keeps what makes a push idempotent, with its first result, when the log has forgotten the change", async () => {
    const t = await open();
    const first = await t.asUser("ada", (tx) => push(tx, many(5)));
    await t.asWorker((tx) => tx.query("select perch.prune_changes('0', 2)"));
    const again = await t.asUser("ada", (tx) => push(tx, many(5)));
    expect(again).toEqual(first.map((result) => ({ ...result, status: "replayed" })));
    expect((await t.asUser("ada", (tx) => push(tx, many(1))))[0]).toEqual({ ...first[0], status: "replayed" });
  });

  it("forgets what makes a push idempotent only after perch.keep_receipts_hours", async () => {
    const t = await open();
    await t.asUser("ada", (tx) => push(tx, many(3, { at: "2026-01-01T10:00:00Z" })));
    const prune = (hours: string) =>
      t.asWorker(async (tx) => {
        await tx.query("select set_config('perch.keep_receipts_hours', $1, true)", [hours]);
        await tx.query("select perch.prune_changes('1 year', 0)");
      });
    await prune("1");
    expect(codes(await t.asUser("ada", (tx) => push(tx, many(3, { at: "2026-01-01T10:00:00Z" }))))).toEqual([
      "replayed",
      "replayed",
      "replayed",
    ]);
    await prune("0");
    expect(codes(await t.asUser("ada", (tx) => push(tx, many(3, { at: "2026-01-01T10:00:00Z" }))))).toEqual([
      "applied",
      "applied",
      "applied",
    ]);
    expect((await t.asUser("ada", (tx) => pullAll(tx))).changes).toHaveLength(6);
  });

  it("refuses to prune without saying what to keep, and to anybody but a worker", async () => {
    const t = await open();
    await expect(t.asWorker((tx) => tx.query("select perch.prune_changes(null, 5)"))).rejects.toMatchObject({
      code: "PE422",
    });
    await expect(t.asWorker((tx) => tx.query("select perch.prune_changes('1 day', -1)"))).rejects.toMatchObject({
      code: "PE422",
    });
    await expect(t.asUser("ada", (tx) => tx.query("select perch.prune_changes('0', 0)"))).rejects.toMatchObject({
      code: "42501",
    });
  });
});
