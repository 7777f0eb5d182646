import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { CheckpointStore, threadLeases, threadLog } from "../../src/checkpoints/index.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { watch } from "../documents/live/support.js";
import { describeEachEngine, postgres, type TestDatabase } from "../support/databases.js";
import { lockWaiters } from "../support/locks.js";
import { pause, until } from "../support/until.js";
import { freshTenant } from "./support.js";

const expired = (lease: { expiresAt: Date } | undefined) =>
  until(() => lease && Date.now() > lease.expiresAt.getTime());
const schema = z.object({ by: z.string() });

describeEachEngine("leases", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const parts = () => {
    const options = { db: t.db, tenantId: freshTenant() };
    return {
      leases: threadLeases(options),
      store: new CheckpointStore({ ...options, schema }),
      log: threadLog(options),
    };
  };
  const lost = { code: "PE409" };

  it("have one holder at a time, until it releases", async () => {
    const { leases } = parts();
    const first = await leases.acquire("run", { holder: "first" });
    expect(first).toMatchObject({
      threadId: "run",
      holder: "first",
      token: expect.any(Number),
      expiresAt: expect.any(Date),
    });
    expect(await leases.acquire("run", { holder: "second" })).toBeUndefined();
    expect(await leases.acquire("other", { holder: "second" })).toBeDefined();
    expect(await leases.release(first as never)).toBe(true);
    expect(await leases.release(first as never)).toBe(false);
    const second = await leases.acquire("run", { holder: "second" });
    expect(second?.token).toBeGreaterThan(first?.token as number);
    await expect(leases.renew(first as never)).rejects.toMatchObject(lost);
  });

  it("of a holder that died expire, and what it still sends is refused", async () => {
    const { leases, store, log } = parts();
    const dead = await leases.acquire("run", { holder: "dead", durationMs: 60_000 });
    const fencingToken = dead?.token as number;
    await store.put("run", { state: { by: "dead" }, step: 1, fencingToken });
    await log.append("run", ["dead"], { fencingToken });
    expect(await leases.acquire("run", { holder: "alive" })).toBeUndefined();
    await leases.renew(dead as never, 300);
    const alive = await until(() => leases.acquire("run", { holder: "alive" }));
    expect(alive.token).toBeGreaterThan(fencingToken);

    const head = await store.put("run", { state: { by: "alive" }, step: 2, fencingToken: alive.token });
    await expect(store.put("run", { state: { by: "dead" }, step: 2, fencingToken })).rejects.toMatchObject(lost);
    await expect(store.updateState("run", head, { by: "dead" }, { fencingToken })).rejects.toMatchObject(lost);
    await expect(log.append("run", ["dead"], { fencingToken })).rejects.toMatchObject(lost);
    await expect(leases.renew(dead as never)).rejects.toMatchObject(lost);
    expect(await leases.release(dead as never)).toBe(false);
    expect((await store.latest("run"))?.state).toEqual({ by: "alive" });
  });

  it("are prolonged from now, also one that expired while nobody wanted it", async () => {
    const { leases, store } = parts();
    const lease = await leases.acquire("run", { holder: "me", durationMs: 200 });
    await expired(lease);
    await store.put("run", { state: { by: "me" }, step: 1, fencingToken: lease?.token });
    const renewed = await leases.renew(lease as never, 60_000);
    expect(renewed.token).toBe(lease?.token);
    expect(renewed.expiresAt.getTime()).toBeGreaterThan((lease?.expiresAt.getTime() as number) + 50_000);
    expect(await leases.acquire("run", { holder: "other" })).toBeUndefined();
  });

  it("give the same holder a new token, with which it is not taken for its former self", async () => {
    const { leases, store } = parts();
    const before = await leases.acquire("run", { holder: "me" });
    const after = await leases.acquire("run", { holder: "me" });
    expect(after?.token).toBeGreaterThan(before?.token as number);
    await expect(store.put("run", { state: { by: "me" }, step: 1, fencingToken: before?.token })).rejects.toMatchObject(
      lost,
    );
    await store.put("run", { state: { by: "me" }, step: 1, fencingToken: after?.token });
  });

  it("refuse the token of a lease that was released, that never was, or of a thread that was deleted", async () => {
    const { leases, store } = parts();
    const attempt = (fencingToken: number) => store.put("run", { state: { by: "me" }, step: 1, fencingToken });
    await expect(attempt(1)).rejects.toMatchObject(lost);
    const lease = await leases.acquire("run", { holder: "me" });
    const token = lease?.token as number;
    await leases.release(lease as never);
    await expect(attempt(token)).rejects.toMatchObject(lost);
    const last = await leases.acquire("run", { holder: "me" });
    await store.deleteThread("run", { fencingToken: last?.token });
    await expect(attempt(token)).rejects.toMatchObject(lost);
    const anew = await leases.acquire("run", { holder: "you" });
    expect(anew?.token).toBeGreaterThan(token);
    await expect(attempt(token)).rejects.toMatchObject(lost);
  });

  it("leave a holder that lost its lease nothing that it could change, nor another's lease to end", async () => {
    const { leases, store, log } = parts();
    const first = await leases.acquire("run", { holder: "first" });
    const old = { fencingToken: first?.token };
    const root = await store.put("run", { state: { by: "first" }, step: 1, ...old });
    await log.append("run", ["begun"], old);
    await leases.release(first as never);
    const second = await leases.acquire("run", { holder: "second" });
    const now = { fencingToken: second?.token };
    const head = await store.put("run", { state: { by: "second" }, step: 2, parentId: root, ...now });

    const changes = (token: { fencingToken?: number | undefined }) => ({
      put: () => store.put("run", { state: { by: "other" }, step: 2, ...token }),
      update: () => store.updateState("run", root, { by: "other" }, token),
      fork: () => store.fork("run", root, token),
      prune: () => store.prune({ threadId: "run", keepLast: 1, ...token }),
      archive: () => log.archive("run", 1, token),
      delete: () => store.deleteThread("run", token),
    });
    for (const token of [old, {}, { fencingToken: 1 }]) {
      for (const [what, change] of Object.entries(changes(token))) {
        await expect(change(), what).rejects.toMatchObject(lost);
      }
    }
    expect((await store.latest("run"))?.id).toBe(head);
    expect(await log.load("run")).toHaveLength(1);
    await leases.renew(second as never);
    // Who has it may do all of that, and who talks to it may.
    await log.append("run", ["a word meanwhile"]);
    for (const [what, change] of Object.entries(changes(now))) await expect(change(), what).resolves.toBeDefined();
    expect(await store.latest("run")).toBeUndefined();
    // It went with the thread.
    expect(await leases.release(second as never)).toBe(false);
  });

  it("keep others from writing only while they last, and from no other thread", async () => {
    const { leases, store } = parts();
    const put = (threadId: string) => store.put(threadId, { state: { by: "other" }, step: 1 });
    const lease = await leases.acquire("run", { holder: "me" });
    await expect(put("run")).rejects.toMatchObject({ code: "PE409", detail: { thread_id: "run", holder: "me" } });
    await put("elsewhere");
    // Begun with a copy, a thread is written to as well.
    const head = (await store.latest("elsewhere"))?.id as string;
    await expect(store.fork("elsewhere", head, { intoThread: "run" })).rejects.toMatchObject(lost);
    await store.fork("elsewhere", head, { intoThread: "run", fencingToken: lease?.token });
    await leases.renew(lease as never, 50);
    await expect.poll(() => put("run").catch(() => undefined)).toBeDefined();
    await leases.renew(lease as never, 60_000);
    await expect(put("run")).rejects.toMatchObject(lost);
    await leases.release(lease as never);
    await put("run");
  });

  it("leave out of a tenant's pruning the threads that are being worked on", async () => {
    const { leases, store } = parts();
    for (const threadId of ["idle", "at-work"]) {
      for (const step of [1, 2, 3]) await store.put(threadId, { state: { by: threadId }, step });
    }
    const lease = await leases.acquire("at-work", { holder: "me" });
    expect(await store.prune({ keepLast: 1 })).toBe(2);
    await expect(store.prune({ keepLast: 1, fencingToken: lease?.token })).rejects.toMatchObject({ code: "PE422" });
    expect(await store.prune({ threadId: "at-work", keepLast: 1, fencingToken: lease?.token })).toBe(2);
  });

  it("have a time limit that means something", async () => {
    const { leases } = parts();
    for (const durationMs of [0, -1, 86_400_001, Number.NaN, Number.POSITIVE_INFINITY, 1e21]) {
      await expect(leases.acquire("run", { holder: "me", durationMs })).rejects.toMatchObject({ code: "PE422" });
    }
    await expect(leases.acquire("run", { holder: "" })).rejects.toMatchObject({ code: "PE422" });
  });

  it("are renewed as long as the work takes, and released after it", async () => {
    const { leases } = parts();
    // Renewed after a third of its time: this machine may be two seconds late with that.
    const result = await leases.hold("run", { holder: "me", durationMs: 3_000 }, async (lease, signal) => {
      // For longer than a lease lasts.
      await pause(3_500);
      expect(signal.aborted).toBe(false);
      expect(await leases.acquire("run", { holder: "other" })).toBeUndefined();
      await expect(leases.hold("run", { holder: "other" }, async () => "never")).rejects.toMatchObject(lost);
      return lease.token;
    });
    expect(result).toEqual(expect.any(Number));
    expect(await leases.acquire("run", { holder: "other" })).toBeDefined();
    const failing = leases.hold("again", { holder: "me" }, async () => {
      throw new Error("changed my mind");
    });
    await expect(failing).rejects.toThrow("changed my mind");
    expect(await leases.acquire("again", { holder: "other" })).toBeDefined();
  });

  it("tell the work when they are lost", async () => {
    const { leases } = parts();
    const work = leases.hold("run", { holder: "me", durationMs: 300 }, async (_, signal) => {
      // As after a pause in which the lease expired and somebody else, who goes by the same name here, took it.
      await leases.acquire("run", { holder: "me" });
      await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
      return "too late";
    });
    await expect(work).rejects.toMatchObject(lost);
  });
});

describe("leases on Postgres 18", () => {
  const open = postgres();

  it("are lost when their time is over, also while a renewal has no answer", async () => {
    const t = await open();
    const db = watch(t.db);
    const leases = threadLeases({ db, tenantId: freshTenant() });
    void db.hold(/renew_lease/, "before");
    let first = "";
    const work = leases.hold("run", { holder: "me", durationMs: 600 }, async ({ expiresAt }, signal) => {
      // Timers of one process run in the order in which they are due, however late all of them are.
      const later = pause(expiresAt.getTime() - Date.now() + 100).then(() => "a later time is over");
      const told = new Promise((done) => signal.addEventListener("abort", done, { once: true })).then(() => "told");
      first = await Promise.race([told, later]);
      return "too late";
    });
    await expect(work).rejects.toMatchObject({ code: "PE409" });
    expect(first).toBe("told");
    db.go();
  });

  it("are held by no connection: all may go, and another one renews", async () => {
    const t = await open();
    const tenantId = freshTenant();
    const one = openPostgres({ url: t.url as string, poolSize: 1 });
    const lease = await threadLeases({ db: one, tenantId }).acquire("run", { holder: "me" });
    const locks =
      "select 1 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
    expect(await t.db.query(locks)).toEqual([]);
    const backend = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    await t.db.query(`select pg_terminate_backend(b.pid) from (${backend}) b`);
    await one.close();

    const elsewhere = { db: await t.connect(), tenantId };
    expect(await threadLeases(elsewhere).acquire("run", { holder: "other" })).toBeUndefined();
    await threadLeases(elsewhere).renew(lease as never);
    const store = new CheckpointStore({ ...elsewhere, schema });
    await store.put("run", { state: { by: "me" }, step: 1, fencingToken: lease?.token });
  });

  it("neither make anybody wait who asks, nor let one be taken under a put that has begun", async () => {
    const t = await open();
    const options = { db: t.db, tenantId: freshTenant() };
    const leases = threadLeases(options);
    const store = new CheckpointStore({ ...options, schema });
    const lease = await leases.acquire("run", { holder: "me", durationMs: 60_000 });
    let commit = () => {};
    const held = new Promise<void>((done) => {
      commit = done;
    });
    let begun = () => {};
    const began = new Promise<void>((done) => {
      begun = done;
    });
    const order: string[] = [];
    const putting = t.db.transaction(async (tx) => {
      await store.in(tx).put("run", { state: { by: "me" }, step: 1, fencingToken: lease?.token });
      begun();
      await held;
      order.push("put");
    });
    await began;
    // While it runs: whoever asks is answered, and the holder renews.
    expect(await leases.acquire("run", { holder: "other" })).toBeUndefined();
    await expired(await leases.renew(lease as never, 100));
    const taking = leases.acquire("run", { holder: "other" }).then((taken) => {
      order.push("taken");
      return taken;
    });
    await lockWaiters(t.db);
    expect(order).toEqual([]);
    commit();
    await putting;
    expect(await taking).toMatchObject({ holder: "other" });
    expect(order).toEqual(["put", "taken"]);
  });

  for (const isNew of [false, true]) {
    it(`begin after a put without a token${isNew ? ", which makes the thread," : ""} has ended, and not under it`, async () => {
      const t = await open();
      const options = { db: t.db, tenantId: freshTenant() };
      const leases = threadLeases(options);
      const store = new CheckpointStore({ ...options, schema });
      if (!isNew) await store.put("run", { state: { by: "before" }, step: 1 });
      const held = gate();
      const begun = gate();
      const order: string[] = [];
      const putting = t.db.transaction(async (tx) => {
        await store.in(tx).put("run", { state: { by: "other" }, step: 1 });
        begun.open();
        await held.opened;
        order.push("put");
      });
      await begun.opened;
      const taking = leases.acquire("run", { holder: "me" }).then((taken) => {
        order.push("taken");
        return taken;
      });
      await waiters(t.db, 1);
      held.open();
      await putting;
      const lease = await taking;
      expect(order).toEqual(["put", "taken"]);
      // And the other way round: what comes while a lease is being taken waits for it, and is refused.
      await leases.release(lease as never);
      const taken = gate();
      const commit = gate();
      const holding = t.db.transaction(async (tx) => {
        await leases.in(tx).acquire("run", { holder: "me" });
        taken.open();
        await commit.opened;
      });
      await taken.opened;
      const late = store.put("run", { state: { by: "other" }, step: 2 });
      const refused = expect(late).rejects.toMatchObject({ code: "PE409" });
      await waiters(t.db, 1);
      commit.open();
      await holding;
      await refused;
    });
  }
});

/** Waits until so many connections to this database wait for a lock. */
async function waiters(db: Database, count: number): Promise<void> {
  const waiting = `select 1 from pg_stat_activity
    where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0`;
  await expect.poll(async () => (await db.query(waiting)).length).toBe(count);
}

function gate() {
  let open = () => {};
  const opened = new Promise<void>((done) => {
    open = done;
  });
  return { open: () => open(), opened };
}
