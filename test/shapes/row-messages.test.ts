import { expect, it } from "vitest";
import { readRows, rowsBody } from "../../src/shapes/queries.js";
import { pglite } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { operations } from "./support.js";

const ends = '{"control":"snapshot-end"';
const hostile = [
  ...["", "null", "NULL", " NULL", "plain", "two words", "a,b", "{}", '{"a":"b"}', '"', '\\"', "\\", "\\\\", '\\"\\'],
  ...[
    "/",
    "a/b.c",
    "//",
    "\t\n\r\b\f\v",
    "\u0001\u001f\u007f",
    "Ä",
    "€ in",
    "𝄞",
    "\u2028",
    "ends in \\",
    "'",
    '","x":"',
  ],
  "x".repeat(3_000),
];

const open = pglite();

it("messages of rows are what Postgres' own JSON of the columns' texts is, to the letter, whatever is in them", async () => {
  const t = await open();
  const table = 'odd/na.me "quoted"';
  const name = `"${table.replaceAll('"', '""')}"`;
  await t.db.query(
    `create table ${name} (b text, n int, a text, "1" text, "col ""x\\y" bool, fixed char(5), ip inet, tags text[],
         meta jsonb, raw bytea, at timestamptz, gone int, primary key (a, b))`,
  );
  await t.db.query(`alter table ${name} drop column gone`);
  for (const [nth, text] of hostile.entries()) {
    await t.db.query(
      `insert into ${name} values ($1, $2, $3, $4, $5, 'ab', '10.0.0.1', array[$1, null], to_jsonb($1::text), $6, now())`,
      [text, nth % 3 ? nth : null, `k${text.slice(0, 100)}`, hostile.at(-1 - nth), nth % 2 === 0, Buffer.from(text)],
    );
    await t.db.query(`insert into ${name} (a, b) values ($1, 'x')`, [`${text.slice(0, 100)}/`]);
  }
  await syncTable(t.db, name, "space_id => '~ada'");
  const columns = ["b", "n", "a", "1", 'col "x\\y', "fixed", "ip", "tags", "meta", "raw", "at"];
  const texts = columns.map(
    (column) => `r."${column.replaceAll('"', '""')}"::text as "${column.replaceAll('"', '""')}"`,
  );
  const wanted = await t.db.query<{ message: string }>(
    `select concat('{"key":', to_json('"public"."odd//na..me "quoted""' || '/"' || replace(r.a, '/', '//') || '"/"'
                || replace(r.b, '/', '//') || '"'), ',"value":', row_to_json(v),
                ',"headers":{"operation":"insert","relation":["public",', to_json($1::text), ']}}') as message
         from ${name} r cross join lateral (select ${texts.join(", ")}) v order by r.a, r.b`,
    [table],
  );
  const page = await t.asUser("ada", (tx) =>
    readRows(
      tx,
      { schema: "public", table, filter: null, columns: null },
      { key: null, since: 0n, snapshot: undefined, maxBytes: 4_000_000 },
    ),
  );
  const got = String(rowsBody(page, 4_000_000));
  expect(got.slice(0, got.indexOf(`,{"headers":${ends}`))).toBe(`[${wanted.map(({ message }) => message).join(",")}`);
  expect(operations(page)).toHaveLength(2 * hostile.length);
});
