import { describe, expect, it } from "vitest";
import { thrownByDriver } from "../../src/database/errors.js";
import type { Database } from "../../src/database/types.js";
import { makeSpace, startNode, until } from "../gateway/support.js";
import { postgres } from "../support/databases.js";
import { insert, metric, openEvents, pushAs } from "./support.js";

describe("event streams on Postgres 18", () => {
  const open = postgres();

  it("miss nothing and repeat nothing under concurrent writers, over reconnects with the last id", async () => {
    const t = await open();
    await makeSpace(t, "one", "olga", { ada: "viewer", eve: "editor" });
    await makeSpace(t, "two", "olga", { ada: "viewer", eve: "editor" });
    const node = await startNode(t);
    const total = 150;
    const writing = Promise.all(
      Array.from({ length: 5 }, async (_, writer) => {
        for (let n = 0; n < total / 5; n += 1) {
          await pushAs(t.db, writer % 2 ? "olga" : "eve", "busy", insert(`${writer}-${n}`, n % 3 ? "one" : "two"));
        }
      }),
    );
    const follow = async (reconnects: number) => {
      const seqs: Record<string, number[]> = {};
      let lastEventId: string | undefined;
      let count = 0;
      for (let connection = 0; count < total; connection += 1) {
        const stream = await openEvents(node, "app_id=busy&page_size=7", {
          ...(lastEventId !== undefined && { lastEventId }),
        });
        for (let taken = 0; count < total && (connection >= reconnects || taken < 3); taken += 1) {
          const { event, id, data } = await stream.next();
          expect(event).toBe("changes");
          lastEventId = id;
          for (const { space_id, seq } of data.changes) {
            seqs[space_id] ??= [];
            seqs[space_id]?.push(seq);
            count += 1;
          }
        }
        stream.close();
      }
      return seqs;
    };
    const followed = await Promise.all([follow(0), follow(5), follow(5)]);
    await writing;
    for (const seqs of followed) {
      expect(Object.values(seqs).flat()).toHaveLength(total);
      for (const each of Object.values(seqs)) expect(each).toEqual(each.map((_, nth) => nth + 1));
    }
  });

  it("cut off a reader that does not read, keep little for it, and let it go on where it was", async () => {
    const t = await open();
    const node = await startNode(t, { env: { PERCH_SLOW_READER_MS: "300", PERCH_MAX_STREAM_PAGE_BYTES: "100000" } });
    const stream = await openEvents(node, "app_id=slow");
    const { id } = await stream.next();
    stream.pause();
    let pulls = 0;
    const text = "x".repeat(50_000);
    const ids: string[] = [];
    // What the system's own buffers take is not under our control: until they are full the reader is not slow.
    while ((await metric(node, 'perch_streams_ended_total{reason="slow"}')) === undefined) {
      const next = `s${ids.length}`;
      ids.push(next);
      await pushAs(t.db, "ada", "slow", insert(next, null, { text }));
      pulls += 1;
      expect(pulls).toBeLessThan(2_000);
    }
    expect(await metric(node, "perch_streams")).toBe(0);
    stream.resume();
    expect(await stream.ended).toBe("cut");
    expect(stream.ids()).toEqual(ids.slice(0, stream.ids().length));
    const again = await openEvents(node, "app_id=slow", { lastEventId: stream.lastEventId() || id });
    const seen = stream.ids();
    await until(() => seen.length + again.ids().length === ids.length);
    expect([...seen, ...again.ids()]).toEqual(ids);
    for (const { data } of again.events) expect(JSON.stringify(data).length).toBeLessThan(250_000);
  });

  it("are not each a poll: idle ones, however many, look together; and notifications of others wake nobody", async () => {
    const t = await open();
    let statements = 0;
    let spacesLookedAt: unknown;
    const counting: Database = {
      ...t.db,
      query: (sql, params) => {
        statements += 1;
        if (sql.includes("perch.log_heads")) spacesLookedAt = params?.[0];
        return t.db.query(sql, params);
      },
      transaction: (work) => {
        statements += 1;
        return t.db.transaction(work);
      },
    };
    const node = await startNode(t, { db: counting, env: { PERCH_RECHECK_MS: "200" } });
    const streams = await Promise.all(
      Array.from({ length: 120 }, (_, n) => openEvents(node, "app_id=idle", { token: `user${n}` })),
    );
    await Promise.all(streams.map((stream) => stream.next()));
    const looked = async () => {
      const before = statements;
      await until(() => statements >= before + 4);
    };
    await looked();
    const before = statements;
    const started = Date.now();
    for (let n = 0; n < 20; n += 1) await pushAs(t.db, "stranger", "idle", insert(`s${n}`));
    await looked();
    // Three statements for each look: of the rules, of the spaces, of their heads. And a look at most five times a second.
    expect(statements - before).toBeLessThanOrEqual(3 * ((Date.now() - started) / 200 + 2));
    await pushAs(t.db, "user7", "idle", insert("mine"));
    expect((await streams[7]?.next())?.data.changes).toMatchObject([{ id: "mine" }]);
    expect(streams.filter((stream) => stream.events.length > 1)).toHaveLength(1);
    // Of those who have gone nothing is left.
    for (const stream of streams.slice(1)) stream.close();
    await until(async () => (await metric(node, "perch_streams")) === 1);
    spacesLookedAt = undefined;
    await until(() => spacesLookedAt !== undefined);
    await until(() => JSON.stringify(spacesLookedAt) === '["~user0"]');
  });

  it("bring together what is committed faster than they are told", async () => {
    const t = await open();
    const node = await startNode(t, { env: { PERCH_STREAM_INTERVAL_MS: "400", PERCH_RECHECK_MS: "60000" } });
    const stream = await openEvents(node, "app_id=fast");
    await stream.next();
    const wanted = Array.from({ length: 40 }, (_, n) => `t${n}`);
    const started = Date.now();
    for (const id of wanted) await pushAs(t.db, "ada", "fast", insert(id));
    await until(() => stream.ids().length === wanted.length);
    expect(stream.ids()).toEqual(wanted);
    expect(stream.events.length).toBeLessThanOrEqual(3 + (Date.now() - started) / 400);
  });

  it("begin while the database is away, and give what there is once it is back", async () => {
    const t = await open();
    await pushAs(t.db, "ada", "away", insert("a"));
    let away = true;
    const db: Database = {
      ...t.db,
      query: (sql, params) =>
        away
          ? Promise.reject(thrownByDriver(new Error("Connection terminated unexpectedly")))
          : t.db.query(sql, params),
    };
    const node = await startNode(t, { db, env: { PERCH_STREAM_HEARTBEAT_MS: "50" } });
    const stream = await openEvents(node, "app_id=away");
    expect(stream.status).toBe(200);
    await until(() => stream.text().includes("\n:\n"));
    expect(stream.events).toEqual([]);
    away = false;
    expect((await stream.next()).data.changes).toMatchObject([{ id: "a" }]);
  });

  it("go on by themselves when their connections to the database are cut", async () => {
    const t = await open();
    // The login of a serving process: it has both roles, and is no superuser.
    const db = await t.login("perch_app");
    const [{ login = "" } = {}] = await db.query<{ login: string }>("select session_user::text as login");
    await t.db.query(`grant perch_worker to ${login}`);
    const node = await startNode(t, { db });
    const stream = await openEvents(node, "app_id=cut");
    await stream.next();
    const wanted = Array.from({ length: 30 }, (_, n) => `t${n}`);
    for (const [n, id] of wanted.entries()) {
      await pushAs(t.db, "ada", "cut", insert(id));
      if (n % 10 === 5) {
        await t.db.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [login]);
      }
    }
    await until(() => stream.ids().length >= wanted.length);
    expect(stream.ids()).toEqual(wanted);
  });
});
