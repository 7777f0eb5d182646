import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, postgres, type TestDatabase } from "../../support/databases.js";
import { lockWaiters } from "../../support/locks.js";
import { pause, underWay } from "../../support/until.js";
import { append, blob, declarePages, key, state } from "./support.js";

describeEachEngine("A document's record, snapshot and end", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declarePages(t);
  });

  const write = (id: string, after: number, content = "x") =>
    t.asWorker((tx) => append(tx, [{ id, after, updates: [{ content, user: "ada" }] }]));
  const project = (id: string, seq: number, data: object) =>
    t.asWorker((tx) =>
      tx.query<{ logged_seq: number | null; tail_count: number; tail_bytes: number }>(
        "select * from perch.project_document($1, $2, $3, $4, $5, $6::jsonb, $7)",
        [...key(id), seq, JSON.stringify(data), JSON.stringify(data).length],
      ),
    );
  const fold = (id: string, content: string, seq: number) =>
    t.asWorker(async (tx) => {
      const rows = await tx.query<{ folded: boolean }>("select perch.fold_document($1, $2, $3, $4, $5, $6) as folded", [
        ...key(id),
        blob(content),
        seq,
      ]);
      return rows[0]?.folded;
    });
  const log = (id: string) =>
    t.asUser("ada", (tx) =>
      tx.query("select op, changed_fields, user_id from perch.sync_changes where record_id = $1 order by seq", [id]),
    );
  const record = (id: string) =>
    t.asUser("ada", (tx) => tx.query("select data from perch.records where record_id = $1", [id]));

  it("is left to who took its edits for longer the larger it is, before others claim it", async () => {
    const megabytes = { small: 0, large: 0.5, huge: 8, hugest: 1_000 };
    for (const id of Object.keys(megabytes)) await write(`claimed ${id}`, 0);
    const claimed = async (overdueSeconds: number) => {
      for (const [id, size] of Object.entries(megabytes)) {
        await t.db.query("update perch.documents set projection_bytes = $2 where record_id = $1", [
          `claimed ${id}`,
          size * 2 ** 20,
        ]);
      }
      await t.db.query("update perch.document_queue set due_at = clock_timestamp() - make_interval(secs => $1)", [
        overdueSeconds,
      ]);
      const found = await t.asWorker((tx) =>
        tx.query<{ record_id: string }>(
          `select record_id from perch.claim_projections(max_count => 10, claim_seconds => 15, overdue_seconds => 1, small_bytes => 16384,
             large_overdue_seconds => 6, large_seconds => 5, longer_seconds => 55, huge_bytes => 1048576)`,
        ),
      );
      return found.flatMap(({ record_id: id }) => (id.startsWith("claimed ") ? [id.slice(8)] : [])).sort();
    };
    // 6 s, and for 8 MB as much longer as eight times 5 s are than 5 s, but never by more than 55 s.
    expect(await claimed(2)).toEqual(["small"]);
    expect(await claimed(20)).toEqual(["large", "small"]);
    expect(await claimed(39)).toEqual(["large", "small"]);
    expect(await claimed(50)).toEqual(["huge", "large", "small"]);
    expect(await claimed(70)).toEqual(["huge", "hugest", "large", "small"]);
  });

  it("shows what was projected, and logs which fields changed without copying their values", async () => {
    await write("a", 0);
    const [first] = await project("a", 1, { title: "Plan", body: null });
    expect(first).toMatchObject({ tail_count: 1, tail_bytes: 23 });
    expect(first?.logged_seq).toBeGreaterThan(0);
    await write("a", 1);
    await project("a", 2, { title: "Plan", body: "text" });
    await write("a", 2);
    expect((await project("a", 3, { title: "Plan", body: "text" }))[0]?.logged_seq).toBeNull();
    expect(await record("a")).toEqual([{ data: { title: "Plan", body: "text" } }]);
    expect(await log("a")).toEqual([
      { op: "insert", changed_fields: ["body", "title"], user_id: "ada" },
      { op: "update", changed_fields: ["body"], user_id: "ada" },
    ]);
  });

  it("never goes back to an older position", async () => {
    await write("b", 0);
    await write("b", 1);
    await project("b", 2, { title: "new" });
    await project("b", 1, { title: "old" });
    expect(await record("b")).toEqual([{ data: { title: "new" } }]);
    expect(await project("b", 3, { title: "of a position that is not there" })).toEqual([]);
  });

  it("keeps the tail behind the previous snapshot for one more folding", async () => {
    for (let after = 0; after < 5; after++) await write("c", after, String(after + 1));
    expect(await fold("c", "1-2", 2)).toBe(true);
    const read = (after: number) => t.asUser("ada", (tx) => state(tx, "c", after));
    expect(await read(0)).toEqual({ snapshot: "1-2", updates: ["3", "4", "5"], head: 5 });
    expect(await read(1)).toEqual({ snapshot: null, updates: ["2", "3", "4", "5"], head: 5 });
    expect(await fold("c", "1-4", 4)).toBe(true);
    expect(await read(1)).toEqual({ snapshot: "1-4", updates: ["5"], head: 5 });
    expect(await read(2)).toEqual({ snapshot: null, updates: ["3", "4", "5"], head: 5 });
    expect(await read(5)).toEqual({ snapshot: null, updates: [], head: 5 });
    expect(await read(99)).toEqual({ snapshot: "1-4", updates: ["5"], head: 5 });
    expect(
      await t.db.query("select tail_count, tail_bytes, tail_from from perch.documents where record_id = 'c'"),
    ).toEqual([{ tail_count: 1, tail_bytes: 23, tail_from: 2 }]);
  });

  it("takes no snapshot that is older than the one it has, or newer than the document", async () => {
    await write("d", 0);
    await write("d", 1);
    expect(await fold("d", "1-2", 2)).toBe(true);
    expect(await fold("d", "1", 1)).toBe(false);
    expect(await fold("d", "1-2 again", 2)).toBe(false);
    expect(await fold("d", "the future", 3)).toBe(false);
    expect(await t.asUser("ada", (tx) => state(tx, "d"))).toEqual({ snapshot: "1-2", updates: [], head: 2 });
  });

  it("ends whole in one transaction, is logged, and starts empty when made again", async () => {
    await write("e", 0, "old");
    await project("e", 1, { title: "old" });
    await fold("e", "old", 1);
    await write("e", 1, "older");
    await t.asUser("ada", (tx) =>
      tx.query("select perch.patch_document('notes', 'pages', 'e', '{\"title\": \"pending\"}')"),
    );
    await t.asUser("ada", (tx) => tx.query("select perch.delete_document('notes', 'pages', 'e')"));
    for (const table of [
      "documents",
      "document_snapshots",
      "document_updates",
      "document_inbox",
      "document_queue",
      "records",
    ]) {
      expect(await t.db.query(`select 1 from perch.${table} where record_id = 'e'`), table).toEqual([]);
    }
    expect((await log("e")).map((entry) => (entry as { op: string }).op)).toEqual(["insert", "delete"]);
    expect(await project("e", 2, { title: "late projection" })).toEqual([]);

    const { head } = await t.asUser("ada", (tx) => state(tx, "e"));
    await write("e", head, "new");
    await project("e", head + 1, { title: "new" });
    expect(await t.asUser("ada", (tx) => state(tx, "e"))).toEqual({ snapshot: null, updates: ["new"], head: head + 1 });
    expect(await record("e")).toEqual([{ data: { title: "new" } }]);
    expect((await log("e")).map((entry) => (entry as { op: string }).op)).toEqual(["insert", "delete", "insert"]);
  });

  it("is a matter of those who may write: a viewer cannot end it", async () => {
    await t.asUser("ada", async (tx) => {
      await tx.query("select perch.create_space('team')");
      await tx.query("select perch.set_space_member('team', 'eve', 'viewer')");
    });
    await expect(
      t.asUser("eve", (tx) => tx.query("select perch.delete_document('notes', 'pages', 'z', 'team')")),
    ).rejects.toMatchObject({ code: "PE403" });
  });
});

it("A projection says how long it waited for others: that is no cost of its record", async () => {
  const t = await postgres()();
  await declarePages(t);
  await t.asWorker((tx) => append(tx, [{ id: "a", after: 0, updates: [{ content: "x", user: "ada" }] }]));
  const project = () =>
    t.asWorker((tx) =>
      tx.query<{ waited_ms: number }>("select * from perch.project_document($1, $2, $3, $4, 1, '{}', 2)", key("a")),
    );
  const { waiting } = await t.db.transaction(async (tx) => {
    await tx.query("select from perch.documents for update");
    const waiting = underWay(project());
    await lockWaiters(t.db);
    // It waits for as long as this takes.
    await pause(300);
    return { waiting };
  });
  const [waited] = await waiting;
  expect(waited?.waited_ms).toBeGreaterThan(250);
  const [free] = await project();
  expect(free?.waited_ms).toBeLessThan(waited?.waited_ms ?? 0);
});
