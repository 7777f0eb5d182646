/** perch move: from one database to another, while the one is in use, and however often it is killed. */
import { spawn } from "node:child_process";
import { describe, expect, it } from "vitest";
import { examine } from "../../src/cli/doctor-checks.js";
import { catalogDifferences } from "../../src/database/catalog-differences.js";
import { readMigrationSources } from "../../src/database/migration-sources.js";
import { abortMove, type MoveOptions, move } from "../../src/database/moving/move.js";
import { movedTables } from "../../src/database/moving/tables.js";
import type { Database } from "../../src/database/types.js";
import { makeWorld } from "../access/world.js";
import { pglite, postgres, type TestDatabase } from "../support/databases.js";
import { postgresBinaries } from "../support/postgres-server.js";
import { environment, perchMain, runPerch } from "../support/processes.js";
import { underWay, until } from "../support/until.js";

/** What an app's own migrations make, in both databases. */
const appsOwn = `
  do $$ begin create role app_author nologin; exception when duplicate_object or unique_violation then null; end $$;
  create function public.unchanged(jsonb) returns jsonb language sql immutable as 'select $1';
  create function public.echo(args jsonb) returns jsonb language sql security definer set search_path = pg_catalog, pg_temp
    as 'select args';
  alter function public.echo owner to app_author;
  create table public.orders (id int primary key)`;
const plants = `
  create table public.plants (
    id int generated always as identity primary key, team text not null, name text unique, price numeric(12, 4), seen real,
    label text generated always as (upper(name)) stored, photo bytea, owner_id text);
  create table public.seeds (id uuid, part int, team text, primary key (id, part)) partition by hash (id);
  create table public.seeds_0 partition of public.seeds for values with (modulus 2, remainder 0);
  create table public.seeds_1 partition of public.seeds for values with (modulus 2, remainder 1)`;

/** All that is in the tables that are moved, as text. */
async function content(db: Database): Promise<Map<string, string[]>> {
  return db.transaction(async (tx) => {
    await tx.script("set local search_path = pg_catalog; set local timezone = 'UTC'");
    const all = new Map<string, string[]>();
    for (const { relation } of await movedTables(tx)) {
      const rows = await tx.query<{ row: string }>(`select row(t.*)::text as row from ${relation} t`);
      all.set(relation, rows.map(({ row }) => row).sort());
    }
    return all;
  });
}

const quietly = (from: TestDatabase, to: TestDatabase): MoveOptions => ({
  from: from.db,
  to: to.db,
  fromName: "here",
  toName: "there",
});

/** A database with which something happens before a question is asked for the first time. */
function interposed(db: Database, asked: RegExp, happens: () => Promise<unknown>): Database {
  let isOver = false;
  return {
    ...db,
    async query(sql, ...rest) {
      if (!isOver && asked.test(sql)) {
        isOver = true;
        await happens();
      }
      return db.query(sql, ...rest);
    },
  };
}

const push = (t: TestDatabase, user: string, id: string, space: string | null = null) =>
  t.asUser(user, async (tx) => {
    const changes = [{ op: "insert", table: "tasks", id, data: { title: id }, op_id: id, space_id: space }];
    const [row] = await tx.query<{ results: { seq: number; status: string }[] }>(
      "select perch.push(app_id => 'todo', changes => $1::jsonb, client_id => 'c') -> 'results' as results",
      [JSON.stringify(changes)],
    );
    return row?.results[0];
  });

const pull = (t: TestDatabase, user: string, cursor: unknown = null) =>
  t.asUser(user, async (tx) => {
    const [row] = await tx.query<{ page: { changes: { id: string }[]; cursor: unknown } }>(
      "select perch.pull(app_id => 'todo', cursor => $1::jsonb) as page",
      [cursor === null ? null : JSON.stringify(cursor)],
    );
    return row?.page ?? { changes: [], cursor: null };
  });

describe("moving", () => {
  const embedded = pglite();
  const server = postgres(18);

  it("takes all of an embedded database to a server, where readers go on from their cursors", async () => {
    const [from, to] = [await embedded(), await server()];
    await makeWorld(from);
    // What was put into the queue by hand there has taken no number.
    await from.db.query("select setval('perch.capture_ordinal', 10)");
    await to.db.transaction((tx) => tx.script(appsOwn));
    for (const t of [from, to]) await t.db.transaction((tx) => tx.script(plants));
    const sync = `select perch.sync_table(relation => 'public.plants', app_id => 'shop', space_column => 'team',
      row_filter => 'owner_id is null or owner_id = perch.current_user_id()', column_roles => '{"price": ["owner"]}', always => true)`;
    await from.db.query(sync);
    // An app's own migration may have done so already.
    await to.db.query("select perch.sync_table(relation => 'public.seeds', app_id => 'shop', space_column => 'team')");
    await from.db.query(
      "select perch.sync_table(relation => 'public.seeds', app_id => 'shop', space_column => 'team')",
    );
    await from.db.query(
      `insert into public.plants (team, name, price, seen, photo, owner_id)
       select 'team', 'plant ' || n, n / 3.0, 0.1, sha256(n::text::bytea), case n % 2 when 0 then 'olga' end from generate_series(1, 100) n`,
    );
    await from.db.query("insert into public.seeds select gen_random_uuid(), n, 'team' from generate_series(1, 50) n");
    await from.db.query("insert into public.orders values (1)");
    await from.db.query("select perch.set_limit('max_change_bytes', 4000)");
    const kept = await push(from, "olga", "kept");
    const { cursor } = await pull(from, "olga");

    const { stoppedMs } = await move(quietly(from, to));
    expect(stoppedMs).toBeLessThan(10_000);

    const [here, there] = [await content(from.db), await content(to.db)];
    expect([...there.keys()]).toEqual([...here.keys()]);
    // Registered anew there, by whoever moved it.
    for (const each of [here, there]) each.delete("perch.readers");
    for (const [relation, rows] of here) expect(there.get(relation), relation).toEqual(rows);
    expect([...here].filter(([, rows]) => rows.length === 0).map(([relation]) => relation)).toEqual([]);

    // The source takes nothing more, and says where to go.
    await expect(push(from, "olga", "late")).rejects.toMatchObject({ code: "25006", message: /moved to there/ });
    await expect(
      from.db.query("insert into public.seeds_1 select id, part + 100, team from public.seeds_1"),
    ).rejects.toThrow(/moved to there/);
    // The target is as one that was always there.
    const sources = await readMigrationSources();
    expect(await catalogDifferences(to.db, sources)).toEqual(await catalogDifferences(from.db, sources));
    expect((await examine(to.db)).filter(({ level, name }) => level === "error" && name !== "durability")).toEqual([]);
    expect((await pull(to, "olga", cursor)).changes).toEqual([]);
    await push(to, "olga", "first there");
    expect((await pull(to, "olga", cursor)).changes.map(({ id }) => id)).toEqual(["first there"]);
    expect(await push(to, "olga", "kept")).toMatchObject({ status: "replayed", seq: kept?.seq });
    await to.db.query("insert into public.plants (team, name) values ('team', 'new')");
    expect(await to.db.query("select id, label from public.plants where name = 'new'")).toEqual([
      { id: 101, label: "NEW" },
    ]);
    expect(await to.db.query("select perch.sequence_changes() > 0 as numbered")).toEqual([{ numbered: true }]);
    expect(await to.db.query("select perch.limit_values() ->> 'max_change_bytes' as bytes")).toEqual([
      { bytes: "4000" },
    ]);
    // Again it has nothing to do.
    expect(await move(quietly(from, to))).toMatchObject({ stoppedMs: undefined });
  });

  it("refuses a target that is not empty, or lacks what the app makes, before it does anything", async () => {
    const [from, to] = [await server(), await server()];
    await from.db.query("create table public.orders (id int primary key)");
    await from.db.query("select perch.sync_table(relation => 'public.orders', app_id => 'shop', space_id => 'team')");
    await expect(move(quietly(from, to))).rejects.toThrow(/lacks .*table public\.orders/);
    await to.db.query("create table public.orders (id int primary key)");
    await push(to, "ann", "t1");
    await expect(move(quietly(from, to))).rejects.toThrow(/not empty .*perch\.push_receipts/);
    await expect(move(quietly(from, from))).rejects.toThrow(/same database/);
    expect(await from.db.query("select to_regnamespace('perch_move') is null as clean")).toEqual([{ clean: true }]);
    expect(await push(from, "ann", "t1")).toMatchObject({ status: "applied" });
  });

  it("is given up, and the source is as before", async () => {
    const [from, to] = [await server(), await server()];
    await push(from, "ann", "t1");
    await move({ ...quietly(from, to), copyOnly: true });
    await expect(push(to, "ann", "t2")).rejects.toThrow(/filling this database from here/);
    await abortMove(from.db);
    expect(await push(from, "ann", "t2")).toMatchObject({ status: "applied", seq: 2 });
    expect(await catalogDifferences(from.db, await readMigrationSources())).toEqual([]);
    // And what was half filled is not filled again.
    await expect(move(quietly(from, to))).rejects.toThrow(/midst of another move/);
  });

  it("takes nothing on trust: what differs is copied again, or nothing is switched over and the source goes on", async () => {
    const [from, to] = [await server(), await server()];
    for (const id of ["t1", "t2"]) await push(from, "ann", id);
    const options = quietly(from, to);
    await move({ ...options, copyOnly: true });
    const there = (sql: string) =>
      to.db.transaction(async (tx) => {
        await tx.query("select set_config('perch.move', s.run::text, true) from perch_move.state s");
        await tx.query(sql);
      });
    await there("update perch.stored_records set data = '{}' where record_id = 't1'");
    await there("insert into perch.spaces (space_id, created_by) values ('stray', 'x')");
    await expect(move(options)).rejects.toThrow(/ends are not the same: perch\.spaces has/);
    expect(await push(from, "ann", "t3")).toMatchObject({ status: "applied" });
    await there("delete from perch.spaces where space_id = 'stray'");

    // What is synced meanwhile is not left behind, and of two runs the later one wins.
    await from.db.query("create table public.orders (id int primary key)");
    const sync = "select perch.sync_table(relation => 'public.orders', app_id => 'shop', space_id => 'team')";
    const syncing = interposed(from.db, /max\(number\)/, () => from.db.query(sync));
    await expect(move({ ...options, from: syncing })).rejects.toThrow(/tables were synced/);
    await from.db.query("select perch.unsync_table(relation => 'public.orders')");
    const later = interposed(from.db, /max\(number\)/, () => move({ ...options, copyOnly: true }));
    await expect(move({ ...options, from: later })).rejects.toThrow(/another perch move has taken over/);
    await move(options);
    const [here, other] = [await content(from.db), await content(to.db)];
    for (const [relation, rows] of here) expect(other.get(relation), relation).toEqual(rows);
  });

  it("takes what exchanges unique values, is truncated, and is rolled back meanwhile", async () => {
    const [from, to] = [await server(), await server()];
    for (const t of [from, to]) await t.db.transaction((tx) => tx.script(plants));
    for (const table of ["plants", "seeds"])
      await from.db.query(
        `select perch.sync_table(relation => 'public.${table}', app_id => 'shop', space_column => 'team')`,
      );
    await from.db.query(
      "insert into public.plants (team, name) select 'team', 'plant ' || n from generate_series(1, 60) n",
    );
    await from.db.query("insert into public.seeds select gen_random_uuid(), n, 'team' from generate_series(1, 50) n");
    let steps = 0;
    const busy = async (how: string) => {
      steps += 1;
      // Names go round, so that each is somebody else's at the target.
      await from.db.transaction(async (tx) => {
        await tx.query("update public.plants set name = 'moving ' || name");
        await tx.query("update public.plants set name = 'plant ' || (id % 60 + 1)");
      });
      await from.db.query("delete from public.plants where id = $1", [steps]);
      if (how === "comparing") {
        await from.db.query("truncate public.seeds");
        await from.db.query(
          "insert into public.seeds select gen_random_uuid(), n, 'team' from generate_series(1, 20) n",
        );
      }
    };
    // Each step waits for what is written then: what is noted is there before the step begins, or comes while it runs.
    const steady: Promise<void>[] = [];
    await move({ ...quietly(from, to), onStep: (step) => steady.push(underWay(busy(step))) });
    await Promise.allSettled(steady);
    // What was captured has its number: it would count by the transactions of a server that it has left.
    expect(await from.db.query("select from perch.captured_changes")).toEqual([]);
    const [here, there] = [await content(from.db), await content(to.db)];
    for (const [relation, rows] of here) expect(there.get(relation), relation).toEqual(rows);
  });
});

const versions = [15, 18] as const;

/** A login that is no superuser, as operations.md has it. Out: its URL. */
async function asMover({ db, url = "" }: TestDatabase): Promise<string> {
  const login = `mover_${Math.random().toString(36).slice(2)}`;
  await db.query(`create role ${login} login in role perch_owner, perch_worker, perch_app`);
  await db.query(`grant set on parameter session_replication_role to ${login}`);
  await db.query(`do $$ begin execute format('grant create on database %I to ${login}', current_database()); end $$`);
  const changed = new URL(url);
  changed.username = login;
  return changed.href;
}

describe.runIf(versions.every((version) => postgresBinaries(version)))("moving from Postgres 15 to 18", () => {
  const [older, newer] = [postgres(15), postgres(18)];

  it("goes on after being killed anywhere, under writers, and loses nothing that was acknowledged", async () => {
    const from = await older();
    const target = await newer();
    const to = target.db;
    await from.asUser("ann", async (tx) => {
      await tx.query(
        `select perch.push(app_id => 'todo', client_id => 'c', changes => (
           select jsonb_agg(jsonb_build_object('op', 'insert', 'table', 'tasks', 'id', 'old' || n, 'op_id', 'old' || n,
             'data', jsonb_build_object('title', repeat('x', 200)))) from generate_series(1, 500) n))`,
      );
    });
    const acknowledged: string[] = [];
    const refused: unknown[] = [];
    let writing = true;
    const writers = [1, 2].map(async (writer) => {
      for (let n = 0; writing; n += 1) {
        const id = `w${writer}-${n}`;
        try {
          await push(from, `user${writer}`, id);
          acknowledged.push(id);
          await new Promise((done) => setTimeout(done, 20));
        } catch (error) {
          refused.push(error);
          await new Promise((done) => setTimeout(done, 20));
        }
      }
    });
    const urls = [await asMover(from), await asMover(target)] as const;
    const args = ["move", "--from", urls[0], "--to", urls[1]];
    const started = () =>
      spawn(process.execPath, [perchMain, ...args], { env: environment(), stdio: ["ignore", "pipe", "pipe"] });
    // At several points of the way: each run gets a bit further before it is killed; the last may have come to the end by then.
    for (const step of ["copying", "comparing", "stopping"]) {
      const run = started();
      let said = "";
      for (const stream of [run.stdout, run.stderr])
        stream.on("data", (text: Buffer) => {
          said += text.toString();
        });
      const ended = new Promise((done) => run.once("close", done));
      await until(() => said.includes(step) || run.exitCode !== null, `${step} in ${said}`);
      expect(said).toContain(step);
      run.kill("SIGKILL");
      await ended;
    }
    expect(acknowledged.length).toBeGreaterThan(0);
    const last = await runPerch(args);
    expect(last, last.stderr).toMatchObject({ code: 0 });
    writing = false;
    await Promise.all(writers);
    const rows = await to.query<{ id: string }>("select record_id as id from perch.stored_records");
    const there = new Set(rows.map(({ id }) => id));
    expect(acknowledged.filter((id) => !there.has(id))).toEqual([]);
    const [here, other] = [await content(from.db), await content(to)];
    for (const [relation, found] of here) expect(other.get(relation), relation).toEqual(found);
    // Whoever was refused was told that nothing was done, by an error that passes.
    for (const error of refused) expect(error).toMatchObject({ code: "25006", schema: "perch_move" });
  });
});
