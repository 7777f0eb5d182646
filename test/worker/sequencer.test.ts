import { expect, it } from "vitest";
import { thrownByDriver } from "../../src/database/errors.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Queryable } from "../../src/database/types.js";
import { createSequencer } from "../../src/worker/sequencer.js";
import { cleanup } from "../documents/live/support.js";
import { describeEachPostgres } from "../support/databases.js";
import { until } from "../support/until.js";
import { logOf, syncTable } from "../tables/support.js";
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
