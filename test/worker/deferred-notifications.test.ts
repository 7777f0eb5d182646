import { expect, it } from "vitest";
import { createLiveDocuments } from "../../src/documents/live/documents.js";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { startWorker } from "../../src/worker/index.js";
import { describeEachPostgres } from "../support/databases.js";
import { until } from "../support/until.js";

describeEachPostgres("A worker, for the writers of the log", (open) => {
  async function running(settings = {}) {
    const t = await open();
    const db = await t.login("perch_worker");
    const engine = createDocumentEngine();
    const live = createLiveDocuments({ db, engine });
    const worker = await startWorker({ db, live, settings });
    const heard: number[] = [];
    const listening = await t.connect();
    await listening.listen(["perch_changes"], {
      notify: (_, payload) => heard.push(JSON.parse(payload).seq),
      ready: () => {},
    });
    return {
      t,
      heard,
      push: (id: string) =>
        t.asUser("ada", (tx) =>
          tx.query("select perch.push('app', $1::jsonb, 'device')", [
            JSON.stringify([{ op: "insert", table: "tasks", id, data: { n: 1 } }]),
          ]),
        ),
      owed: async () => (await t.db.query("select 1 from perch.deferred_notifications")).length,
      watched: async () =>
        (await t.db.query("select 1 from perch.notifier where polls_until > clock_timestamp()")).length > 0,
      async stop() {
        await worker.close();
        await live.close();
        await engine.close();
      },
    };
  }

  it("notifies on their behalf while they are busy, so that the last change is always heard of, and leaves them alone after", async () => {
    const { heard, push, owed, watched, stop } = await running();
    expect(await watched()).toBe(false);
    let pushed = 0;
    await until(async () => {
      for (let i = 0; i < 30; i++) await push(`t${pushed++}`);
      const isWatched = await watched();
      await until(() => heard.at(-1) === pushed, "the last change is heard of");
      return isWatched && heard.length < pushed;
    }, "several are told of at once");
    expect(await owed()).toBe(0);
    await expect.poll(watched).toBe(false);
    await push("later");
    await expect.poll(() => heard.at(-1)).toBe(pushed + 1);
    await stop();
  });

  it("notifies, when it starts, for what was left to one that died", async () => {
    const t = await open();
    await t.asWorker((tx) => tx.query("select perch.notify_deferred(poll_for => '1 minute')"));
    await t.asUser("ada", (tx) =>
      tx.query("select perch.push('app', $1::jsonb, 'device')", [
        JSON.stringify([{ op: "insert", table: "tasks", id: "t1", data: {} }]),
      ]),
    );
    expect(await t.db.query("select 1 from perch.deferred_notifications")).toHaveLength(1);
    const db = await t.login("perch_worker");
    const engine = createDocumentEngine();
    const live = createLiveDocuments({ db, engine });
    const worker = await startWorker({ db, live });
    await expect.poll(() => t.db.query("select 1 from perch.deferred_notifications")).toEqual([]);
    await worker.close();
    await live.close();
    await engine.close();
  });

  it("forgets old entries on a setting, and keeps the last of each space", async () => {
    const { t, push, stop } = await running({ keepChangesMs: 1, keepChangesLast: 3, pruneEveryMs: 50 });
    for (let i = 0; i < 12; i++) await push(`t${i}`);
    const kept = () => t.db.query("select seq from perch.sync_changes order by seq");
    await expect.poll(kept).toEqual([{ seq: 10 }, { seq: 11 }, { seq: 12 }]);
    expect(await t.db.query("select count(*) as n from perch.records")).toEqual([{ n: 12 }]);
    await stop();
  });
});
