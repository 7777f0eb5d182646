import { beforeAll, expect, it, vi } from "vitest";
import { insert, push } from "../log/support.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";

describeEachEngine("Notifications of the log", (open) => {
  let t: TestDatabase;
  const notifications: { v: number; space_id: string; seq: number; marker?: number }[] = [];
  let markers = 0;
  /** What was heard of all that is committed by now: notifications come in the order of their commits, so the marker comes behind it. */
  const heard = async () => {
    const marker = ++markers;
    await t.db.query("select pg_notify('perch_changes', $1)", [JSON.stringify({ marker })]);
    const at = () => notifications.findIndex((notification) => notification.marker === marker);
    await vi.waitUntil(() => at() >= 0, { timeout: 20_000, interval: 5 });
    const before = notifications.slice(0, at());
    notifications.splice(0, at() + 1);
    return before;
  };
  const look = async (watchFor: string) => {
    const [row] = await t.asWorker((tx) =>
      tx.query<{ notified: number }>("select perch.notify_deferred(poll_for => $1) as notified", [watchFor]),
    );
    return row?.notified;
  };
  beforeAll(async () => {
    t = await open();
    await t.db.listen(["perch_changes"], {
      notify: (_, payload) => notifications.push(JSON.parse(payload)),
      ready: () => {},
    });
    await t.asUser("ada", (tx) => tx.query("select perch.create_space('team')"));
    await heard();
  });

  it("are sent once a transaction and space, with the last number, however it was pushed", async () => {
    await t.asUser("ada", async (tx) => {
      await push(tx, [insert("a")]);
      await push(tx, [insert("b"), insert("c", {}, { space_id: "team" }), insert("d", {}, { space_id: "team" })]);
      await push(tx, [insert("e", {}, { op_id: "e" })]);
      // Whoever writes next in this transaction, and as whom, does not matter.
      await tx.query("select perch.set_context('bob')");
    });
    expect((await heard()).sort((a, b) => a.seq - b.seq || a.space_id.localeCompare(b.space_id))).toEqual([
      { v: 1, space_id: "team", seq: 2 },
      { v: 1, space_id: "~ada", seq: 3 },
    ]);
  });

  it("are not sent for what is rolled back, rejected or repeated", async () => {
    await t
      .asUser("ada", async (tx) => {
        await push(tx, [insert("f")]);
        throw new Error("undone");
      })
      .catch(() => undefined);
    await t.asUser("ada", (tx) => push(tx, [insert("e", {}, { op_id: "e" }), { op: "explode" }]));
    expect(await heard()).toEqual([]);
  });

  it("are left to the worker while one watches, who sends one a space for all of them", async () => {
    await look("1 minute");
    for (const id of ["g", "h", "i"]) await t.asUser("ada", (tx) => push(tx, [insert(id)]));
    await t.asUser("ada", (tx) => push(tx, [insert("j", {}, { space_id: "team" })]));
    expect(await heard()).toEqual([]);
    expect(await look("1 minute")).toBe(2);
    expect((await heard()).map(({ space_id, seq }) => [space_id, seq]).sort()).toEqual([
      ["team", 3],
      ["~ada", 6],
    ]);
    expect(await look("1 minute")).toBe(0);
  });

  it("are sent by writers again once the worker's promise has run out, and what was left before by whoever polls next", async () => {
    await t.asUser("ada", (tx) => push(tx, [insert("k")]));
    await t.asWorker((tx) => tx.query("update perch.notifier set polls_until = clock_timestamp()"));
    expect(await heard()).toEqual([]);
    await t.asUser("ada", (tx) => push(tx, [insert("l")]));
    expect((await heard()).map(({ seq }) => seq)).toEqual([8]);
    expect(await look("0")).toBe(1);
    expect((await heard()).map(({ seq }) => seq)).toEqual([7]);
  });

  it("may not be watched by users", async () => {
    await expect(t.asUser("ada", (tx) => tx.query("select perch.notify_deferred('1 minute')"))).rejects.toMatchObject({
      code: "42501",
    });
  });
});
