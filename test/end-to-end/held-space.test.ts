/** What somebody's open transaction costs others: nothing, whatever waits for what it holds. */
import { expect, it } from "vitest";
import type { Transaction } from "../../src/database/types.js";
import { declareNotes, makeSpace, until } from "../gateway/support.js";
import { describeEachPostgres, type TestDatabase } from "../support/databases.js";
import { bestOf, serving, typist } from "../support/serving.js";
import { underWay } from "../support/until.js";

/** A transaction that has pushed into the space, as of psql, and is left open. Out: ends it. */
async function hold(t: TestDatabase, spaceId: string): Promise<() => Promise<void>> {
  const other = await t.connect();
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  let held = false;
  const holding = other.transaction(async (tx: Transaction) => {
    await tx.query("select perch.set_context(user_id => 'ada')");
    await tx.query("select perch.push(app_id => 'app', client_id => 'psql', changes => $1)", [
      JSON.stringify([{ op: "insert", table: "tasks", id: "held", space_id: spaceId, data: {} }]),
    ]);
    held = true;
    await ended;
  });
  await until(() => held);
  return async () => {
    end();
    await holding;
  };
}

const waitingForLocks = async (t: TestDatabase) => {
  const [row] = await t.db.query<{ waiting: number }>(
    "select count(*) as waiting from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
  );
  return row?.waiting ?? 0;
};

describeEachPostgres("an open transaction that has pushed into a space", (open) => {
  it("keeps what is pushed to its record waiting, on few connections, and nothing else; that goes on as soon as it ends", async () => {
    const t = await open();
    await declareNotes(t);
    const members = Object.fromEntries(Array.from({ length: 3 }, (_, n) => [`u${n}`, "editor" as const]));
    await makeSpace(t, "team", "ada", members);
    // So long that what is done in between is done while they wait.
    const node = await serving({ url: t.url ?? "", poolSize: 10 }, {}, { PERCH_LOCK_WAIT_MS: "120000" });
    const bob = await typist(node, "bob", "/app/notes/n");
    await bob.type(node.db, "quiet");
    const release = await hold(t, "team");
    let answered = 0;
    const pushes = underWay(
      Promise.all(
        Array.from({ length: 30 }, async (_, n) => {
          const answer = await node.push(`u${n % 3}`, "held", "team");
          answered += 1;
          return answer.status;
        }),
      ),
    );
    await until(async () => (await waitingForLocks(t)) > 0);
    const others: Record<string, () => Promise<unknown>> = {
      push: async () => expect((await node.push("bob", "b")).status).toBe(200),
      "a push into that space": async () => expect((await node.push("ada", "other", "team")).status).toBe(200),
      pull: async () => expect((await node.call("bob", "POST", "/v1/pull", { app_id: "app" })).status).toBe(200),
      "a read": async () => expect((await node.call("bob", "GET", "/v1/documents/~/app/notes/n")).status).toBe(200),
      "an edit": () => bob.type(node.db, "x"),
      "a join": () => typist(node, "bob", "/app/notes/another"),
      readiness: async () => expect((await node.call("", "GET", "/readyz")).status).toBe(200),
      "a pull by who waits": async () =>
        expect((await node.call("u1", "POST", "/v1/pull", { app_id: "app" })).status).toBe(200),
    };
    for (const [what, attempt] of Object.entries(others)) {
      await attempt();
      expect(answered, what).toBe(0);
    }
    // Each has waited for a moment; since then it is known that the space is held.
    await until(async () => (await waitingForLocks(t)) <= 2);
    expect(answered).toBe(0);

    await release();
    const released = performance.now();
    expect(new Set(await pushes)).toEqual(new Set([200]));
    // Who waits for a time that passes waits two minutes.
    expect(performance.now() - released).toBeLessThan(60_000);
  });

  it("lets what waits for it be answered after a bounded time, with when to come again", async () => {
    const t = await open();
    await makeSpace(t, "team", "ada");
    const lockWaitMs = 3_000;
    const node = await serving({ url: t.url ?? "", poolSize: 10 }, {}, { PERCH_LOCK_WAIT_MS: `${lockWaitMs}` });
    const release = await hold(t, "team");
    // So long that what may be answered to all of them does not fit into what is held for a user: some wait for that first.
    const data = { text: "x".repeat(10_000) };
    const pushAll = async () => {
      const answers = await Promise.all(Array.from({ length: 12 }, () => node.push("ada", "held", "team", data)));
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 503));
      expect(answers.every(({ retry }) => Number(retry) > 0)).toBe(true);
    };
    // Once nothing else keeps this machine from it.
    expect(await bestOf(5, pushAll, 2 * lockWaitMs)).toBeLessThan(2 * lockWaitMs);
    await release();
    expect((await node.push("ada", "after", "team")).status).toBe(200);
  });

  it("delays the records of documents by nothing, neither in other spaces nor in its own", async () => {
    const t = await open();
    await declareNotes(t);
    await makeSpace(t, "team", "ada");
    const node = await serving({ url: t.url ?? "", poolSize: 10 });
    const record = async (spaceId: string, id: string) => {
      const [row] = await t.db.query(
        "select from perch.stored_records where space_id = $1 and record_id = $2 and not deleted",
        [spaceId, id],
      );
      return row !== undefined;
    };
    let notes = 0;
    const patchAndSee = async () => {
      notes += 1;
      const path = `/v1/documents/~/app/notes/b${notes}`;
      expect((await node.call("bob", "PATCH", path, { patch: { title: "y" } })).status).toBe(200);
      await until(() => record("~bob", `b${notes}`));
    };
    const quiet = await bestOf(3, patchAndSee);
    const release = await hold(t, "team");
    await t.asUser("ada", async (tx) => {
      for (let n = 0; n < 15; n++) {
        await tx.query(
          `select perch.patch_document(app_id => 'app', table_name => 'notes', record_id => $1, space_id => 'team', patch => '{"title": "x"}')`,
          [`d${n}`],
        );
      }
    });
    const allowed = 10 * quiet + 2_000;
    expect(await bestOf(4, patchAndSee, allowed)).toBeLessThan(allowed);
    for (let n = 0; n < 15; n++) await until(() => record("team", `d${n}`));
    const numbered = async () => (await t.db.query("select from perch.sync_changes where space_id = 'team'")).length;
    expect(await numbered()).toBe(0);
    await release();
    await until(async () => (await numbered()) === 16);
  });
});
