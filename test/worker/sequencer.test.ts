import { afterEach, expect, it, vi } from "vitest";
import { thrownByDriver } from "../../src/database/errors.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Queryable } from "../../src/database/types.js";
import { createSequencer } from "../../src/worker/sequencer.js";
import { cleanup } from "../documents/live/support.js";
import { describeEachPostgres } from "../support/databases.js";
import { until } from "../support/until.js";
import { logOf, sequence, syncTable } from "../tables/support.js";
import { startWorkerNode } from "./support.js";

describeEachPostgres("a batch of the sequencer that takes longer than statements may", (open) => {
  it("is given the time it needs: it stops neither the log nor what else the worker does", async () => {
    const t = await open();
    await t.db.query("create table public.tasks (id text primary key, space text)");
    await syncTable(t.db, "public.tasks", "space_column => 'space'");
    // As a transaction of millions of rows would: for as long as there is something in public.held.
    await t.db.query("create table public.held as select 1 as n");
    await t.db.query("grant select on public.held to public");
    await t.db.query(`
      create function public.takes_long() returns trigger language plpgsql as $$
      begin
        if exists (select from arrivals where data ->> 'id' = 'large') then
          while exists (select from public.held) loop perform pg_sleep(0.01); end loop;
        end if;
        return null;
      end $$`);
    await t.db.query(`create trigger takes_long after insert on perch.sync_changes
      referencing new table as arrivals for each statement execute function public.takes_long()`);
    const login = await t.login("perch_worker");
    const [{ name } = { name: "" }] = await login.query<{ name: string }>("select session_user as name");
    const url = new URL(t.url ?? "");
    url.username = name;
    const db = openPostgres({ url: url.href, queryTimeoutMs: 1_500 });
    cleanup(() => db.close());
    const node = await startWorkerNode(t, { db, settings: { pollMs: 100 } });
    await t.db.query("insert into public.tasks values ('large', 'team')");
    const large = () => node.warnings.filter(({ message }) => /large transaction/.test(message));
    await until(() => large().length > 0);
    node.db.counted();
    let polls = 0;
    await until(() => {
      polls += node.db.counted().promise_sequencing ?? 0;
      return polls >= 3;
    });
    expect(await logOf(t.db, "team")).toEqual([]);
    await t.db.query("delete from public.held");
    await until(async () => (await logOf(t.db, "team")).length === 1);
    // What comes behind it is held to the usual time again.
    await t.db.query("insert into public.tasks values ('small', 'team')");
    await until(async () => (await logOf(t.db, "team")).length === 2);
    expect(large()).toHaveLength(1);
  });
});

it("a batch that was ended for its time gets the time it needs also where somebody else was at it at first", async () => {
  const answers: (number | "ended")[] = ["ended", 0, 1];
  const unlimited: boolean[] = [];
  const query: Queryable["query"] = async (sql, _, how) => {
    if (!sql.includes("sequence_changes")) return [];
    unlimited.push(how?.unlimited === true);
    const answer = answers.shift() ?? 0;
    if (answer === "ended") throw thrownByDriver(Object.assign(new Error("statement timeout"), { code: "57014" }));
    return [{ moved: answer }] as never;
  };
  const log = { info: () => undefined, warn: () => undefined };
  const sequencer = createSequencer({ db: { kind: "pglite", query } as Database, log });
  await sequencer.poll();
  // As a worker does, again and again: one that comes while a batch is just ending begins none.
  await until(async () => {
    await sequencer.poll();
    return answers.length === 0;
  });
  await until(() => unlimited.length === 4);
  expect(unlimited).toEqual([false, true, true, false]);
  await sequencer.close();
});

describeEachPostgres("a batch that cannot take all that waits", (open) => {
  it("says so, so that the worker goes on without a pause", async () => {
    const t = await open();
    await t.db.query("create table public.tasks (id text primary key, space text)");
    await syncTable(t.db, "public.tasks", "space_column => 'space'");
    for (const id of ["a", "b", "c"]) await t.db.query("insert into public.tasks values ($1, 'team')", [id]);
    const batch = (count: number) =>
      t.db.query(
        "select perch.sequence_changes(max_count => $1) as moved, current_setting('perch.sequencer_behind', true) as behind",
        [count],
      );
    expect(await batch(1)).toEqual([{ moved: 1, behind: "on" }]);
    expect(await batch(10)).toEqual([{ moved: 2, behind: "" }]);
  });

  it("is not made smaller by one that took the little there was", async () => {
    const t = await open();
    await t.db.query("create table public.tasks (id serial primary key, space text)");
    await syncTable(t.db, "public.tasks", "space_column => 'space'");
    // Unless that one took very long: on a machine that stands still, again.
    await until(async () => {
      await t.db.query("update perch.sequencer set batch_size = 500, noted_at = '-infinity'");
      await t.db.query("insert into public.tasks (space) values ('team')");
      await sequence(t.db);
      const [noted] = await t.db.query<{ batch_size: number }>(
        "select batch_size from perch.sequencer where noted_at > '-infinity'",
      );
      return noted?.batch_size === 500;
    });
  });
});

afterEach(() => void vi.useRealTimers());

it.each([
  { what: "few changes", batch: { moved: 4, behind: "" }, pause: 5 },
  { what: "many changes", batch: { moved: 24, behind: "" }, pause: 12 },
  { what: "very many changes", batch: { moved: 300, behind: "" }, pause: 20 },
  { what: "as many changes as it may have", batch: { moved: 300, behind: "on" }, pause: 5 },
])("pauses $pause ms behind a batch of $what while tables are busy", async ({ batch, pause }) => {
  vi.useFakeTimers();
  const began: number[] = [];
  const query: Queryable["query"] = async (sql) => {
    if (!sql.includes("sequence_changes")) return [];
    began.push(performance.now());
    return [batch] as never;
  };
  const log = { info: () => undefined, warn: () => undefined };
  const sequencer = createSequencer({ db: { kind: "postgres", query } as Database, log });
  for (let n = 0; n < 5; n++) sequencer.notified();
  await vi.advanceTimersByTimeAsync(200);
  const pauses = began.slice(2).map((at, nth) => at - (began[nth + 1] ?? Number.NaN));
  expect(pauses.length).toBeGreaterThan(5);
  expect(new Set(pauses)).toEqual(new Set([pause]));
  const closing = sequencer.close();
  await vi.advanceTimersByTimeAsync(50);
  await closing;
});
