import { beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { CheckpointStore, threadLog } from "../../src/checkpoints/index.js";
import { withContext } from "../../src/identity/index.js";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { freshTenant } from "./support.js";

describeEachEngine("the log of a thread", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const fresh = () => threadLog<number>({ db: t.db, tenantId: freshTenant(), schema: z.number() });
  const numbers = (events: readonly { number: number }[]) => events.map(({ number }) => number);

  it("is empty at first, and numbers events from 1 without gaps", async () => {
    const log = fresh();
    expect(await log.status("run")).toEqual({ lastNumber: 0, archivedUntil: 0 });
    expect(await log.load("run")).toEqual([]);
    expect(await log.load("run", 0)).toEqual([]);
    expect(await log.append("run", [10, 20])).toBe(2);
    expect(await log.append("run", [30])).toBe(3);
    const events = await log.load("run", 0);
    expect(events.map(({ number, event }) => [number, event])).toEqual([
      [1, 10],
      [2, 20],
      [3, 30],
    ]);
    expect(events[0]?.createdAt).toBeInstanceOf(Date);
    expect(await log.append("another", [1])).toBe(1);
  });

  it("refuses an event that would not come back as it is", async () => {
    const log = threadLog({ db: t.db, tenantId: freshTenant(), schema: z.object({ at: z.date() }) });
    const refused = log.append("run", [{ at: new Date() }]);
    await expect(refused).rejects.toMatchObject({ code: "PE422", detail: { path: ["at"] } });
    expect(await log.load("run")).toEqual([]);
  });

  it("loads what came after a number, a page at a time", async () => {
    const log = fresh();
    await log.append("run", [1, 2, 3, 4, 5]);
    expect(numbers(await log.load("run", 2))).toEqual([3, 4, 5]);
    expect(numbers(await log.load("run", 2, { limit: 2 }))).toEqual([3, 4]);
    expect(numbers(await log.load("run", 5))).toEqual([]);
    for (const limit of [0, -1, 10_001]) {
      await expect(log.load("run", 0, { limit })).rejects.toMatchObject({ code: "PE422" });
    }
  });

  /** Remembers a thread's log as it is. Out: puts it back, as a database does that went back to an earlier state. */
  async function rememberLog(tenantId: string): Promise<() => Promise<void>> {
    const tables = ["thread_logs", "thread_events"];
    const kept = await Promise.all(
      tables.map(async (table) => {
        const [row] = await t.db.query<{ rows: string }>(
          `select coalesce(json_agg(x), '[]')::text as rows from perch.${table} x where x.tenant_id = $1`,
          [tenantId],
        );
        return [table, row?.rows] as const;
      }),
    );
    return () =>
      t.db.transaction(async (tx) => {
        for (const [table, rows] of kept) {
          await tx.query(`delete from perch.${table} where tenant_id = $1`, [tenantId]);
          await tx.query(
            `insert into perch.${table} select * from json_populate_recordset(null::perch.${table}, $1::json)`,
            [rows],
          );
        }
      });
  }

  it("tells a reader whose events are gone, and their numbers given to others, that it went back", async () => {
    const tenantId = freshTenant();
    const log = threadLog<number>({ db: t.db, tenantId, schema: z.number() });
    await log.append("run", [1, 2]);
    const [, second] = await log.load("run");
    const goBack = await rememberLog(tenantId);
    await log.append("run", [3, 4, 5]);
    const events = await log.load("run", second);
    expect(numbers(events)).toEqual([3, 4, 5]);
    await goBack();
    for (const event of events) await expect(log.load("run", event)).rejects.toMatchObject({ code: "PE410" });
    await log.append("run", [30, 40, 50, 60]);
    for (const event of events) {
      await expect(log.load("run", event)).rejects.toMatchObject({ code: "PE410", detail: { reason: "epoch" } });
    }
    expect(numbers(await log.load("run", second))).toEqual([3, 4, 5, 6]);
    // What is archived has its mark kept.
    await log.archive("run", 4);
    const [, fourth] = events;
    await expect(log.load("run", fourth)).rejects.toMatchObject({ code: "PE410", detail: { reason: "epoch" } });
    const [fifth] = await log.load("run");
    await log.archive("run", 5);
    await log.archive("run", 4);
    expect(numbers(await log.load("run", fifth))).toEqual([6]);
    expect(numbers(await log.load("run", 5))).toEqual([6]);
  });

  it("tells a reader of a thread that was deleted, and made again, the same", async () => {
    const tenantId = freshTenant();
    const log = threadLog<number>({ db: t.db, tenantId, schema: z.number() });
    await log.append("run", [1, 2]);
    const [first, second] = await log.load("run");
    await withContext(t.db, { tenantId }, (tx) => tx.query("select perch.delete_thread('run')"));
    await log.append("run", [10, 20, 30]);
    for (const event of [first, second])
      await expect(log.load("run", event)).rejects.toMatchObject({ code: "PE410", detail: { reason: "epoch" } });
  });

  it("goes on counting when everything is archived, also after the thread was quiet", async () => {
    const log = fresh();
    await log.append("run", [1, 2, 3]);
    const archived = await log.archive("run", 3);
    expect(archived.map(({ number, event }) => [number, event])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    expect(await log.status("run")).toEqual({ lastNumber: 3, archivedUntil: 3 });
    expect(await log.load("run")).toEqual([]);
    expect(await log.load("run", 3)).toEqual([]);
    expect(await log.append("run", [4])).toBe(4);
    expect(numbers(await log.load("run", 3))).toEqual([4]);
    expect(await log.archive("run", 2)).toEqual([]);
    expect(await log.status("run")).toEqual({ lastNumber: 4, archivedUntil: 3 });
  });

  it("says so when events that were asked for are archived, or not there yet, instead of leaving them out", async () => {
    const log = fresh();
    await log.append("run", [1, 2, 3, 4]);
    await log.archive("run", 2);
    expect(numbers(await log.load("run"))).toEqual([3, 4]);
    expect(numbers(await log.load("run", 2))).toEqual([3, 4]);
    for (const after of [0, 1, 5]) {
      await expect(log.load("run", after)).rejects.toMatchObject({
        code: "PE410",
        detail: { thread_id: "run", after, archived_until: 2, last_number: 4 },
      });
    }
    for (const upTo of [5, -1]) await expect(log.archive("run", upTo)).rejects.toMatchObject({ code: "PE422" });
  });

  it("refuses events that are none, and reads none that are not as the schema says", async () => {
    const log = fresh();
    await expect(log.append("run", [])).rejects.toMatchObject({ code: "PE422" });
    await expect(log.append("run", ["text" as never])).rejects.toMatchObject({ code: "PE422" });
    expect(await log.status("run")).toEqual({ lastNumber: 0, archivedUntil: 0 });
    const tenantId = freshTenant();
    await threadLog({ db: t.db, tenantId }).append("run", [{ any: "thing" }]);
    const strict = threadLog({ db: t.db, tenantId, schema: z.number() });
    await expect(strict.load("run")).rejects.toMatchObject({ code: "PE422", detail: { number: 1 } });
  });

  it("commits together with a checkpoint, or not at all", async () => {
    const tenantId = freshTenant();
    const log = threadLog<string>({ db: t.db, tenantId });
    const store = new CheckpointStore({ db: t.db, tenantId, schema: z.object({ heard: z.number() }) });
    const work = (fails: boolean) =>
      withContext(t.db, { tenantId }, async (tx) => {
        const heard = await log.in(tx).append("run", ["hello"]);
        await store.in(tx).put("run", { state: { heard }, step: 1 });
        if (fails) throw new Error("changed my mind");
      });
    await expect(work(true)).rejects.toThrow("changed my mind");
    expect(await log.status("run")).toEqual({ lastNumber: 0, archivedUntil: 0 });
    expect(await store.latest("run")).toBeUndefined();
    await work(false);
    expect((await store.latest("run"))?.state).toEqual({ heard: 1 });
  });

  it("goes with its thread", async () => {
    const tenantId = freshTenant();
    const log = threadLog<number>({ db: t.db, tenantId });
    await log.append("run", [1, 2]);
    await new CheckpointStore({ db: t.db, tenantId, schema: z.unknown() }).deleteThread("run");
    expect(await log.status("run")).toEqual({ lastNumber: 0, archivedUntil: 0 });
    expect(await log.append("run", [1])).toBe(1);
  });
});
