/** Reads by a standby, which may be behind, stand still, or go. */
import { expect, it, onTestFinished } from "vitest";
import { thrownByDriver } from "../../src/database/errors.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import { openStandbys } from "../../src/database/standbys.js";
import type { Database, Queryable, Transaction } from "../../src/database/types.js";
import { withContext } from "../../src/identity/context.js";
import { startPostgresServer } from "../support/postgres-server.js";
import { pause, underWay, until } from "../support/until.js";

const push = (db: Database, userId: string, id: string, waits = "off") =>
  withContext(db, { userId }, async (tx) => {
    await tx.query("select set_config('synchronous_commit', $1, true)", [waits]);
    return tx.query("select perch.push(app_id => 'todo', client_id => 'c', changes => $1::jsonb)", [
      JSON.stringify([{ op: "insert", table: "tasks", id, space_id: "team", data: {} }]),
    ]);
  });

it("answers what a standby knows, and by the primary what it does not: nobody reads less than they have written or read", async () => {
  // What does not wait for the disk gets there, and so to the standby, ten seconds later by itself.
  const primary = await startPostgresServer({ settings: { wal_writer_delay: "10s" } });
  onTestFinished(() => primary.close());
  const db = openPostgres({ url: primary.url() });
  onTestFinished(() => db.close());
  await migrate(db);
  await withContext(db, { userId: "ann" }, async (tx) => {
    await tx.query("select perch.create_space(space_id => 'team')");
    await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'ben', role => 'editor')");
  });
  const standby = await startPostgresServer({ standbyOf: primary });
  onTestFinished(() => standby.close());
  const there = openPostgres({ url: standby.url(), poolSize: 2, onError: () => undefined });
  onTestFinished(() => there.close());
  const warnings: string[] = [];
  // What is no server at all is passed over.
  const urls = [standby.url(), "postgres://postgres@127.0.0.1:1/postgres"];
  const log = { warn: (_: object, message: string) => warnings.push(message) };
  const standbys = openStandbys({ urls, db, log });
  onTestFinished(() => standbys.close());

  const counts = { standby: 0, primary: 0 };
  /** A page of the log, or of a snapshot, and who has answered. */
  const look = <T>(userId: string, work: (tx: Transaction) => Promise<T>) =>
    standbys.read(db, (on) =>
      withContext(on, { userId }, async (tx) => {
        const [row] = await tx.query<{ standby: boolean }>("select pg_is_in_recovery() as standby");
        const result = await work(tx);
        counts[row?.standby ? "standby" : "primary"] += 1;
        return result;
      }),
    );
  const pull = (userId: string, cursor: unknown) =>
    look(userId, async (tx) => {
      const [row] = await tx.query<{ page: { changes: { id: string }[]; cursor: unknown } }>(
        "select perch.pull(app_id => 'todo', cursor => $1::jsonb) as page",
        [JSON.stringify(cursor)],
      );
      return row?.page ?? { changes: [], cursor };
    });

  // One that is as far answers; what is written there meanwhile is told by another process, or by nobody.
  let written = 0;
  let cursor: unknown = {};
  const read: string[] = [];
  const writeAndRead = async () => {
    const id = `t${++written}`;
    await push(db, "ann", id);
    const page = await pull("ben", cursor);
    cursor = page.cursor;
    read.push(...page.changes.map((change) => change.id));
    expect(read.at(-1)).toBe(id);
  };
  await until(async () => {
    await writeAndRead();
    return counts.standby >= 5;
  });

  // A commit that the primary does not show yet, since it waits, is shown by nobody; what is merely open is in nobody's way.
  let end = () => {};
  const ended = new Promise<void>((done) => {
    end = done;
  });
  const open = underWay(
    db.transaction(async (tx) => {
      await tx.query("select pg_current_xact_id(), pg_notify('nobody', '')");
      await ended;
    }),
  );
  const setting = async (names: string) => {
    await db.query(`alter system set synchronous_standby_names = '${names}'`);
    await db.query("select pg_reload_conf()");
    await until(async () => (await db.query("show synchronous_standby_names"))[0]?.synchronous_standby_names === names);
  };
  await setting("nosuch");
  const waiting = underWay(push(db, "ann", `t${++written}`, "on"));
  const records = "select record_id from perch.records where record_id = $1";
  await until(async () => (await there.query(records, [`t${written}`])).length > 0);
  const seen = standbys.stats();
  await pause(300);
  for (let n = 0; n < 2; n += 1) expect((await pull("ben", cursor)).changes).toEqual([]);
  expect(seen.primary.ahead).toBeGreaterThan(0);
  await setting("");
  await waiting;
  read.push(`t${written}`);
  cursor = (await pull("ben", cursor)).cursor;
  await pause(300);
  // All of some in a row: now and then it may be behind by more than it is waited for, or the other's turn, which is none.
  await until(async () => {
    const answered = seen.standby;
    for (let n = 0; n < 5; n += 1) await writeAndRead();
    return seen.standby === answered + 5;
  }, "pages by the standby beside an open transaction");
  end();
  await open;

  // It stands still.
  await there.query("select pg_wal_replay_pause()");
  const before = { ...counts };
  for (let n = 0; n < 3; n += 1) {
    await writeAndRead();
    await pause(300);
  }
  expect(counts).toEqual({ standby: before.standby, primary: before.primary + 3 });
  const snapshot = await look("ben", async (tx) => {
    const [row] = await tx.query<{ count: number }>(
      "select jsonb_array_length(perch.snapshot_records(app_id => 'todo', space_id => 'team', page_size => 10000) -> 'records') as count",
    );
    return row?.count;
  });
  expect(snapshot).toBe(written);

  // And goes on.
  await there.query("select pg_wal_replay_resume()");
  await until(async () => {
    await writeAndRead();
    return counts.standby > before.standby + 3;
  });
  // Nothing twice, nothing left out, whoever has answered.
  expect(read).toEqual(Array.from({ length: written }, (_, n) => `t${n + 1}`));

  // What writes is for the primary, wherever it was sent.
  await standbys.read(db, (on) => push(on, "ann", "written"));
  await expect(standbys.read(db, (on) => on.query("select 1 / 0"))).rejects.toMatchObject({ code: "22012" });

  // Whoever asks for too much, or finds the primary away, has no standby left out for the others.
  const said = warnings.length;
  let isSilent = false;
  const noAnswer = () => Promise.reject(thrownByDriver(new Error("no answer")));
  const aside: Queryable = { query: (sql, params) => (isSilent ? noAnswer() : db.aside.query(sql, params)) };
  const one = openStandbys({ urls: urls.slice(0, 1), db: { ...db, aside }, log });
  onTestFinished(() => one.close());
  const whoAnswers = async () => {
    const [row] = await one.read(db, (on) => on.query<{ there: boolean }>("select pg_is_in_recovery() as there"));
    return row?.there ? "standby" : "primary";
  };
  await until(async () => (await whoAnswers()) === "standby");
  const slow = one.read(db, (on) =>
    on.transaction(async (tx) => {
      await tx.script("set local statement_timeout = 1");
      return tx.query("select pg_sleep(1)");
    }),
  );
  await expect(slow).rejects.toMatchObject({ code: "57014" });
  isSilent = true;
  expect(await whoAnswers()).toBe("primary");
  isSilent = false;
  await until(async () => (await whoAnswers()) === "standby");
  // One that is taken for away is not asked for a while, and the primary is, which counts.
  expect(one.stats().primary.away).toBe(0);
  expect(warnings).toHaveLength(said);

  // It is gone.
  await standby.kill();
  for (let n = 0; n < 3; n += 1) expect((await pull("ben", {})).changes.length).toBe(written + 1);
  expect(warnings.length).toBeGreaterThan(0);
});
