import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { sequence, syncTable } from "./support.js";

const columns = `
  id bigint primary key, small smallint, exact numeric, money_like numeric(20, 4), real4 real, real8 double precision, yes boolean, name text,
  fixed char(5), short varchar(10), bytes bytea, at timestamptz, local timestamp, day date, clock time, zoned timetz, span interval,
  tag uuid, doc jsonb, mood mood, moods mood[], numbers int[], nested numeric[], many timestamptz[], pair pair, period tstzrange, periods int4multirange,
  positive positive, addr inet, bits bit(3), place point, generated numeric generated always as (exact * 2) stored`;
const names = `id, small, exact, money_like, real4, real8, yes, name, fixed, short, bytes, at, local, day, clock, zoned, span, tag, doc, mood, moods, numbers,
  nested, many, pair, period, periods, positive, addr, bits, place`;
const full = `(9007199254740993, -32768, 12345678901234567890.123456789000, 1.5000, 1.1, 0.1::float8 + 0.2, true, E'quote " and \\\\ and \\u00e9 \\n',
  'ab', 'short', '\\x00ff10'::bytea, '2026-03-29 01:30:00.123456+00', '2026-01-02 03:04:05.6', '2026-12-31', '23:59:59.999999', '10:00:00+05:30',
  '1 year 2 mons -3 days 04:05:06.7', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b": [1.0, 1e2, null], "a": 1.10}', 'so so', '{happy,"so so"}', '{1,null,3}',
  '{{1.10,2},{3,4.0}}', '{2026-01-01 00:00:00+00,infinity}', row(1, '2026-06-01 00:00:00+02'), '[2026-01-01 00:00:00+00,2026-02-01 00:00:00+00)',
  '{[1,3),[5,7)}', 7, '10.0.0.1/24', B'101', '(0.1,1e300)')`;
const odd = `(-1, 0, 'NaN', null, 'Infinity', '-Infinity', false, '', '', null, '', 'infinity', '-infinity', '0044-03-15 BC', '00:00', '24:00:00-12',
  '-1 mons', null, 'null', 'happy', '{}', '{}', null, null, null, 'empty', '{}', null, '::1', B'000', '(NaN,0)')`;

/** What a session may have set; none of it may be seen in the log. */
const sessions = [
  "",
  `set local timezone = 'America/St_Johns'; set local datestyle = 'SQL, DMY'; set local intervalstyle = 'sql_standard';
   set local bytea_output = 'escape'; set local extra_float_digits = -15; set local search_path = ''; set local row_security = off`,
  "set local timezone = 'Asia/Kathmandu'; set local datestyle = 'German'; set local intervalstyle = 'iso_8601'; set local extra_float_digits = 3",
];

describeEachEngine("values", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
        create type mood as enum ('happy', 'so so');
        create type pair as (n int, at timestamptz);
        create domain positive as int check (value > 0);
        create table kinds (${columns});`),
    );
    await syncTable(t.db, "kinds", "space_id => 'kinds'");
  });

  it("are in the log exactly, whatever the session's settings, and leave these as they were", async () => {
    for (const settings of sessions) {
      await t.db.transaction(async (tx) => {
        await tx.script(settings);
        const shown = () =>
          tx.query(
            "select name, setting from pg_settings where name in ('TimeZone', 'DateStyle', 'IntervalStyle', 'bytea_output', 'extra_float_digits', 'row_security') order by 1",
          );
        const before = await shown();
        await tx.query(`insert into public.kinds (${names}) values ${full}, ${odd}`);
        await tx.query("update public.kinds set small = 1, exact = exact + 0.0000000000000000");
        expect(await shown()).toEqual(before);
        await tx.query("delete from public.kinds");
      });
    }
    await sequence(t.db);
    const all = await t.db.query<{ line: string }>(
      `select concat_ws(' ', op, record_id, data::text) as line from perch.sync_changes where space_id = 'kinds' order by seq`,
    );
    const each = all.length / sessions.length;
    expect(each).toBe(6);
    const first = all.slice(0, each).map(({ line }) => line);
    for (let nth = 1; nth < sessions.length; nth++) {
      expect(all.slice(nth * each, (nth + 1) * each).map(({ line }) => line)).toEqual(first);
    }
    for (const part of [
      '"exact": 12345678901234567890.123456789000',
      '"id": 9007199254740993',
      '"money_like": 1.5000',
      '"real8": 0.30000000000000004',
      '"bytes": "\\\\x00ff10"',
      '"at": "2026-03-29T01:30:00.123456+00:00"',
      '"span": "1 year 2 mons -3 days +04:05:06.7"',
      '"nested": [[1.10, 2], [3, 4.0]]',
      '"pair": {"n": 1, "at": "2026-05-31T22:00:00+00:00"}',
      '"generated": 24691357802469135780.246913578000',
    ]) {
      expect(first[0]).toContain(part);
    }
    // Of a number that is written differently, though it is equal, the log says so.
    expect(first[2]).toContain('"exact": 12345678901234567890.1234567890000000');
  });

  it("come back as the rows they were made of", async () => {
    await t.db.query(`insert into kinds (${names}) values ${full}, ${odd}`);
    await sequence(t.db);
    const [row] = await t.db.query(
      `select count(*) as rows, count(*) filter (where to_jsonb(k) = to_jsonb(r)) as same
         from perch.sync_changes c join kinds k on k.id::text = c.record_id
        cross join lateral jsonb_populate_record(null::kinds, c.data) r
        where c.space_id = 'kinds' and c.seq > (select max(seq) - 2 from perch.sync_changes where space_id = 'kinds')`,
    );
    expect(row).toEqual({ rows: 2, same: 2 });
    const snapshot = await t.asUser("ann", async (tx) => {
      await tx.query(
        "set local timezone = 'Asia/Kathmandu'; set local bytea_output = 'escape'".split(";")[0] as string,
      );
      await tx.query("select perch.set_context('ann', '{kinds}')");
      const [page] = await tx.query<{ data: string }>(
        `select jsonb_path_query(perch.snapshot_records(app_id => 'shop', space_id => 'kinds'), '$.records[*].data')::text as data`,
      );
      return page?.data;
    });
    const [logged] = await t.db.query<{ data: string }>(
      "select data::text as data from perch.sync_changes where space_id = 'kinds' and record_id = '-1' order by seq desc limit 1",
    );
    expect(snapshot).toEqual(logged?.data);
  });
});
