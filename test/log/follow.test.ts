import { expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import {
  type Change,
  type FollowEvent,
  type Following,
  type FollowOptions,
  follow,
  push,
} from "../../src/log/index.js";
import { describeBothKinds, describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { pause, until } from "../support/until.js";

const insert = (id: string, space_id: string | null = null): Change => ({ op: "insert", table: "tasks", id, space_id });
const pushAs = (db: Database, userId: string, ...changes: Change[]) =>
  withContext(db, { userId }, (tx) => push(tx, { appId: "todo", changes }));
const followAs = (db: Database, userId: string, options: Partial<FollowOptions> = {}) =>
  // A poll so slow that only notifications can explain what arrives.
  follow(db, { context: { userId }, appId: "todo", pollMs: 600_000, ...options });

async function next(following: Following): Promise<FollowEvent> {
  const { value, done } = await following.next();
  if (done) throw new Error("it ended");
  return value;
}
async function nextIds(following: Following): Promise<string[]> {
  const event = await next(following);
  if (event.type !== "changes") throw new Error(`not changes but ${event.type}`);
  return event.changes.map(({ id }) => id);
}
/** A database that counts its transactions, and tells when so many were and none is under way: a follower then waits. */
function watched(db: Database): { db: Database; pulls(): number; waits(after?: number): Promise<unknown> } {
  let pulls = 0;
  let running = 0;
  return {
    db: {
      ...db,
      async transaction(work) {
        pulls += 1;
        running += 1;
        try {
          return await db.transaction(work);
        } finally {
          running -= 1;
        }
      },
    },
    pulls: () => pulls,
    waits: (after = 1) => until(() => pulls >= after && running === 0),
  };
}
/** Forgets the log of a space up to a number, as retention does. */
const forget = (t: TestDatabase, space: string, upTo: number) =>
  t.db.transaction(async (tx) => {
    await tx.query("delete from perch.sync_changes where space_id = $1 and seq <= $2", [space, upTo]);
    await tx.query("update perch.space_heads set oldest_seq = $2 where space_id = $1", [space, upTo + 1]);
  });

describeBothKinds("follow", (open) => {
  it("gives what is there, in pages, and then what is committed, as the database notifies", async () => {
    const { db } = await open();
    for (const id of ["a", "b", "c"]) await pushAs(db, "ada", insert(id));
    const following = followAs(db, "ada", { pageSize: 2 });
    expect(await next(following)).toMatchObject({
      type: "changes",
      changes: [{ id: "a" }, { id: "b" }],
      hasMore: true,
    });
    expect(await next(following)).toMatchObject({ type: "changes", changes: [{ id: "c" }], hasMore: false });
    for (const id of ["d", "e"]) {
      const arriving = nextIds(following);
      await pushAs(db, "ada", insert(id));
      expect(await arriving).toEqual([id]);
    }
    await following.return?.();
  });

  it("goes on from a cursor", async () => {
    const { db } = await open();
    await pushAs(db, "ada", insert("a"));
    const first = followAs(db, "ada");
    const event = await next(first);
    await first.return?.();
    await pushAs(db, "ada", insert("b"));
    const second = followAs(db, "ada", event.type === "changes" ? { cursor: event.cursor } : {});
    expect(await nextIds(second)).toEqual(["b"]);
    await second.return?.();
  });

  it("brings the past of a space that is joined, and names one that is left", async () => {
    const { db } = await open();
    const asOlga = (sql: string) => withContext(db, { userId: "olga" }, (tx) => tx.query(sql));
    await asOlga("select perch.create_space(space_id => 'team')");
    await pushAs(db, "olga", insert("old", "team"));
    await pushAs(db, "ada", insert("own"));
    const following = followAs(db, "ada");
    expect(await nextIds(following)).toEqual(["own"]);
    const joined = nextIds(following);
    await asOlga("select perch.set_space_member(space_id => 'team', user_id => 'ada', role => 'viewer')");
    expect(await joined).toEqual(["old"]);
    const left = next(following);
    await asOlga("select perch.remove_space_member(space_id => 'team', user_id => 'ada')");
    expect(await left).toMatchObject({ type: "changes", changes: [], revokedSpaceIds: ["team"] });
    await following.return?.();
  });

  it("resyncs where the log does not reach back, and goes on from there", async () => {
    const t = await open();
    await withContext(t.db, { userId: "ada" }, (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    await pushAs(t.db, "ada", insert("a", "team"), insert("b", "team"), insert("c", "team"), insert("own"));
    await pushAs(t.db, "ada", { op: "delete", table: "tasks", id: "a", space_id: "team" });
    await forget(t, "team", 2);
    const following = followAs(t.db, "ada", { pageSize: 1 });
    const lost = { space_id: "team", reason: "expired", oldest_seq: 3, latest_seq: 4 };
    expect(await next(following)).toEqual({ type: "resync", spaces: [lost] });
    const records: string[] = [];
    for (let last = false; !last; ) {
      const event = await next(following);
      if (event.type !== "snapshot") throw new Error(event.type);
      expect(event.spaceId).toBe("team");
      records.push(...event.records.map(({ id }) => id));
      last = event.last;
      expect(event.cursor === null).toBe(!last);
    }
    expect(records).toEqual(["b", "c"]);
    expect(await nextIds(following)).toEqual(["own"]);
    const arriving = nextIds(following);
    await pushAs(t.db, "ada", insert("d", "team"));
    expect(await arriving).toEqual(["d"]);
    await following.return?.();
  });

  it("resyncs every space when the log has another epoch, and keeps what it has of the others", async () => {
    const t = await open();
    await withContext(t.db, { userId: "ada" }, (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    await pushAs(t.db, "ada", insert("own"), insert("a", "team"));
    const first = followAs(t.db, "ada");
    const event = await next(first);
    await first.return?.();
    const cursor = event.type === "changes" ? event.cursor : {};
    await t.db.query("update perch.log_epoch set epoch = gen_random_uuid()");
    const second = followAs(t.db, "ada", { cursor });
    expect(await next(second)).toMatchObject({
      type: "resync",
      spaces: [
        { space_id: "team", reason: "epoch" },
        { space_id: "~ada", reason: "epoch" },
      ],
    });
    expect(await next(second)).toMatchObject({ type: "snapshot", spaceId: "team", records: [{ id: "a" }], last: true });
    expect(await next(second)).toMatchObject({
      type: "snapshot",
      spaceId: "~ada",
      records: [{ id: "own" }],
      last: true,
    });
    const arriving = nextIds(second);
    await pushAs(t.db, "ada", insert("new"));
    expect(await arriving).toEqual(["new"]);
    await second.return?.();
  });

  it("is stopped by its signal, by return() and by leaving the loop, also while it waits", async () => {
    const { db } = await open();
    const stop = new AbortController();
    const first = watched(db);
    const waiting = followAs(first.db, "ada", { signal: stop.signal });
    const pending = waiting.next();
    await first.waits();
    stop.abort();
    expect(await pending).toEqual({ value: undefined, done: true });
    expect(await waiting.next()).toEqual({ value: undefined, done: true });

    const second = watched(db);
    const returned = followAs(second.db, "ada");
    const alsoPending = returned.next();
    await second.waits();
    await returned.return?.();
    expect(await alsoPending).toEqual({ value: undefined, done: true });

    await pushAs(db, "ada", insert("a"));
    let seen = 0;
    for await (const event of followAs(db, "ada")) {
      expect(event.type).toBe("changes");
      seen += 1;
      break;
    }
    expect(seen).toBe(1);
    const aborted = followAs(db, "ada", { signal: AbortSignal.abort() });
    expect(await aborted.next()).toEqual({ value: undefined, done: true });
  });

  it("throws what does not pass, and ends", async () => {
    const { db } = await open();
    await expect(followAs(db, "").next()).rejects.toMatchObject({ code: "PE401" });
    const wrong = followAs(db, "ada", { cursor: { v: 99 } });
    await expect(wrong.next()).rejects.toMatchObject({ code: "PE422" });
    expect(await wrong.next()).toEqual({ value: undefined, done: true });
  });

  it("pulls by its poll where nothing notifies", async () => {
    const { db } = await open();
    const deaf = watched({ ...db, listen: async () => ({ close: async () => {} }) });
    const following = followAs(deaf.db, "ada", { pollMs: 50 });
    const arriving = nextIds(following);
    await deaf.waits(2);
    await pushAs(db, "ada", insert("a"));
    expect(await arriving).toEqual(["a"]);
    await following.return?.();
  });

  it("does not pull for every notification of spaces it does not read", async () => {
    const { db } = await open();
    const counted = watched(db);
    const following = followAs(counted.db, "ada");
    const arriving = nextIds(following);
    await counted.waits();
    const began = performance.now();
    for (let n = 0; n < 20; n += 1) await pushAs(db, "otto", insert(`o${n}`));
    // Of one connection's notifications this is the last: when it is answered, the others are.
    await pushAs(db, "ada", insert("a"));
    expect(await arriving).toEqual(["a"]);
    // Of such it pulls once a second at most.
    expect(counted.pulls()).toBeLessThanOrEqual(4 + (performance.now() - began) / 1_000);
    await following.return?.();
  });
});

describeEachPostgres("follow through faults", (open) => {
  it("loses nothing and repeats nothing when its connections are cut", async () => {
    const t = await open();
    const mine = await t.login("perch_app");
    const [{ login } = { login: "" }] = await mine.query<{ login: string }>("select session_user::text as login");
    const errors: unknown[] = [];
    const following = followAs(mine, "ada", { onError: (error) => errors.push(error) });
    const wanted = Array.from({ length: 60 }, (_, n) => `t${n}`);
    const writing = (async () => {
      for (const [n, id] of wanted.entries()) {
        await pushAs(t.db, "ada", insert(id));
        if (n % 20 === 10) {
          await t.db.query("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", [login]);
        }
        // So that connections are cut at work.
        await pause(5);
      }
    })();
    const seen: string[] = [];
    while (seen.length < wanted.length) seen.push(...(await nextIds(following)));
    await writing;
    expect(seen).toEqual(wanted);
    await following.return?.();
  });

  it("gives each of several followers every change of many writers once, in the order of its space", async () => {
    const t = await open();
    await withContext(t.db, { userId: "olga" }, async (tx) => {
      for (const space of ["one", "two"]) {
        await tx.query("select perch.create_space(space_id => $1)", [space]);
        for (const user of ["ada", "eve"]) {
          await tx.query("select perch.set_space_member(space_id => $1, user_id => $2, role => 'editor')", [
            space,
            user,
          ]);
        }
      }
    });
    const total = 120;
    const followers = ["ada", "eve"].map(async (user) => {
      const seqs: Record<string, number[]> = {};
      let count = 0;
      for await (const event of followAs(t.db, user, { pageSize: 7 })) {
        if (event.type !== "changes") throw new Error(event.type);
        for (const { space_id, seq } of event.changes) {
          seqs[space_id] ??= [];
          seqs[space_id]?.push(seq);
          count += 1;
        }
        if (count >= total) break;
      }
      return seqs;
    });
    await Promise.all(
      Array.from({ length: 6 }, async (_, writer) => {
        for (let n = 0; n < 20; n += 1) {
          await pushAs(t.db, writer % 2 ? "ada" : "eve", insert(`w${writer}-${n}`, n % 3 ? "one" : "two"));
        }
      }),
    );
    for (const seqs of await Promise.all(followers)) {
      expect(Object.values(seqs).flat()).toHaveLength(total);
      for (const each of Object.values(seqs)) expect(each).toEqual(each.map((_, nth) => nth + 1));
    }
  });
});
