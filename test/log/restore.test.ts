import { expect, it } from "vitest";
import type { Database, Queryable } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { backUp } from "../support/backup.js";
import { describeEachPostgres } from "../support/databases.js";
import { type Cursor, insert, type Page, pull, push } from "./support.js";

describeEachPostgres("A database restored from a backup", (open) => {
  it("holds the log and the records, and with a new epoch takes no cursor from before for its own", async () => {
    const t = await open();
    const asAda = <T>(db: Database, work: (tx: Queryable) => Promise<T>) =>
      withContext(db, { userId: "ada" }, (tx) => work(tx));
    const pullAll = (db: Database, cursor: Cursor) => asAda(db, (tx) => pull(tx, { cursor }));
    const pushOne = (db: Database, id: string) => asAda(db, (tx) => push(tx, [insert(id, { made: id })]));
    const records = (db: Database) =>
      asAda(db, (tx) => tx.query("select record_id, data, seq from perch.records order by 1"));

    for (const id of ["a", "b", "c"]) await pushOne(t.db, id);
    const before = await pullAll(t.db, {});
    const kept = await records(t.db);
    const restore = await backUp(t);
    const original = await t.connect();
    for (const id of ["lost 1", "lost 2"]) await pushOne(original, id);
    const ahead = await pullAll(original, before.cursor);
    expect(ahead.changes.map((entry) => entry.seq)).toEqual([4, 5]);

    const restored = await restore();
    expect(await records(restored)).toEqual(kept);
    await expect(pullAll(restored, ahead.cursor)).rejects.toMatchObject({
      code: "PE410",
      detail: { spaces: [{ space_id: "~ada", reason: "ahead", latest_seq: 3 }] },
    });

    // What the DBA does, before anybody writes. Soon the numbers fit again, but they are other changes.
    await restored.query("select perch.new_epoch()");
    for (const id of ["other 1", "other 2", "other 3"]) await pushOne(restored, id);
    for (const { cursor } of [before, ahead] satisfies Page[]) {
      await expect(pullAll(restored, cursor)).rejects.toMatchObject({
        code: "PE410",
        detail: { spaces: [{ space_id: "~ada", reason: "epoch" }] },
      });
    }
    const [snapshot] = await asAda(restored, (tx) =>
      tx.query<{ page: { records: { id: string }[]; cursor: Cursor } }>(
        "select perch.snapshot_records(app_id => 'todo') as page",
      ),
    );
    expect(snapshot?.page.records.map((record) => record.id).toSorted()).toEqual([
      "a",
      "b",
      "c",
      "other 1",
      "other 2",
      "other 3",
    ]);
    await pushOne(restored, "after");
    const onwards = await pullAll(restored, snapshot?.page.cursor ?? {});
    expect(onwards.changes.map((entry) => [entry.seq, entry.id])).toEqual([[7, "after"]]);
  });
});
