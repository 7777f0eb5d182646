/** perch on logins and databases whose settings are not the usual ones, on a connection of its own and through a pooling proxy. */
import { randomUUID } from "node:crypto";
import { emptyCheckpoint } from "@langchain/langgraph-checkpoint";
import pg from "pg";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { openPglite } from "../../src/database/pglite.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database, Queryable } from "../../src/database/types.js";
import { createDocumentEngine, type DocumentEngine } from "../../src/documents/loro/engine.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/index.js";
import { PerchSaver } from "../../src/langgraph/index.js";
import { exportUser, pull, push, snapshotRecords } from "../../src/log/index.js";
import { describeSomePostgres, type TestDatabase } from "../support/databases.js";
import { startTransactionPooler } from "../support/transaction-pooler.js";

/** Each a setting that some installation has, and its value there. */
const oddSettings: [string, string][] = [
  ["bytea_output", "escape"],
  ["DateStyle", "SQL, DMY"],
  ["DateStyle", "German"],
  ["IntervalStyle", "sql_standard"],
  ["extra_float_digits", "-3"],
  ["standard_conforming_strings", "off"],
  ["array_nulls", "off"],
  ["row_security", "off"],
  ["default_transaction_isolation", "repeatable read"],
  ["default_transaction_isolation", "serializable"],
  ["client_encoding", "LATIN1"],
  ["TimeZone", "Asia/Kathmandu"],
  ["quote_all_identifiers", "on"],
  ["transform_null_equals", "on"],
];

/** What every session of perch has, whatever the login's is. */
const pinned = {
  bytea_output: "hex",
  DateStyle: "ISO",
  IntervalStyle: "postgres",
  extra_float_digits: "1",
  standard_conforming_strings: "on",
  array_nulls: "on",
  row_security: "on",
  default_transaction_isolation: "read committed",
};

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

let engine: DocumentEngine;
beforeAll(() => {
  engine = createDocumentEngine({ threads: 1 });
});
afterAll(() => engine.close());

const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);

/** How values come and go. */
async function values(db: Queryable) {
  const [row] = await db.query<{ at: Date }>(
    `select $1::bytea as bytes, array[$1::bytea, null, ''::bytea] as list, $2::text[] as texts, $3::text as text,
            timestamptz '2026-02-03T04:05:06.789Z' as at, date '2026-02-03' as day, interval '1 day -2 hours 0.5 s' as span,
            0.1::float8 + 0.2::float8 as float, current_setting('transaction_isolation') as isolation`,
    [bytes, ["a\\b", null, "NULL", 'c"é€'], "it's \\n"],
  );
  return row;
}

/** What perch is for, once. Out: what can be compared with the same elsewhere. */
async function story(db: Database) {
  const userId = `ada\\${randomUUID()}'`;
  const asAda = <T>(work: (tx: Queryable) => Promise<T>) => withContext(db, { userId }, work as never) as Promise<T>;
  const store = new DocumentStore({ engine });
  const pushed = await asAda((tx) =>
    push(tx, {
      appId: "odd",
      clientId: "c\\1",
      changes: [
        { op: "insert", table: "tasks", id: "a", data: { title: "back\\slash 'é' €", n: 0.1 } },
        { op: "update", table: "tasks", id: "a", data: { done: true }, at: "2026-01-01T10:00:00.5Z" },
      ],
    }),
  );
  const page = { appId: "odd", tableName: "pages", recordId: "p" };
  await withContext(db, { userId }, (tx) => store.applyPatch(tx, page, { title: "one", due: "2026-03-04T05:06:07Z" }));
  const patched = await withContext(db, { userId }, (tx) => store.applyPatch(tx, page, { body: "two \\ three" }));
  store.evict();
  const afresh = await withContext(db, { userId }, (tx) => store.applyPatch(tx, page, { title: null }));
  const pulled = await asAda((tx) => pull(tx, { appId: "odd" }));
  const snapshot = await asAda((tx) => snapshotRecords(tx, { appId: "odd" }));
  const [read] = await asAda((tx) =>
    tx.query<{ updates: Uint8Array[] }>(
      "select updates from perch.document_state(app_id => 'odd', table_name => 'pages', record_id => 'p')",
    ),
  );
  let exported = 0;
  await exportUser(db, {
    userId,
    write: () => {
      exported += 1;
    },
  });
  const saver = new PerchSaver({ db, tenantId: randomUUID() });
  const checkpoint = { ...emptyCheckpoint(), channel_values: { bytes }, channel_versions: { bytes: 1 } };
  const config = { configurable: { thread_id: "t", checkpoint_ns: "" } };
  await saver.put(config, checkpoint, { source: "input", step: 0, parents: {} }, { bytes: 1 });
  const saved = await saver.getTuple(config);
  return {
    statuses: pushed.results.map(({ status }) => status),
    data: [patched.data, afresh.data],
    changes: pulled.changes.map(({ seq, op, table, data, created_at: at }) => [
      seq,
      op,
      table,
      data,
      !Number.isNaN(Date.parse(at)),
    ]),
    records: snapshot.records.map(({ table, data }) => [table, data]),
    updates: read?.updates.map((update) => update.length > 30 && Buffer.from(update.subarray(0, 4)).toString()),
    exported,
    checkpoint: saved?.checkpoint.channel_values,
  };
}

describeSomePostgres("a login with settings of its own", (open) => {
  let t: TestDatabase;
  let login: string;
  let expected: Awaited<ReturnType<typeof story>>;

  beforeAll(async () => {
    t = await open();
    await t.db.query(
      `select perch.declare_table(app_id => 'odd', table_name => 'pages',
                                  fields => '{"title": "string", "body": "text", "due": "datetime"}')`,
    );
    login = `odd_${randomUUID().slice(0, 8)}`;
    await t.db.query(`create role ${login} login in role perch_app, perch_worker`);
    expected = await story(await opened(false));
    for (const close of closers.splice(0).reverse()) await close();
  });

  async function opened(pooled: boolean): Promise<Database> {
    const url = new URL(t.url ?? "");
    url.username = login;
    let address = url.href;
    if (pooled) {
      const pooler = await startTransactionPooler(Number(url.port));
      closers.push(() => pooler.close());
      address = pooler.url(address);
    }
    const db = openPostgres({ url: address, prepare: !pooled });
    closers.push(() => db.close());
    return db;
  }

  it.each(oddSettings.flatMap(([name, value]) => [false, true].map((pooled) => ({ name, value, pooled }))))(
    "is served as others are: $name = $value, through a proxy: $pooled",
    async ({ name, value, pooled }) => {
      await t.db.query(`alter role ${login} set ${name} = '${value}'`);
      closers.push(() => t.db.query(`alter role ${login} reset all`));
      const db = await opened(pooled);
      const usual = {
        bytes,
        list: [bytes, null, new Uint8Array()],
        texts: ["a\\b", null, "NULL", 'c"é€'],
        text: "it's \\n",
        at: new Date("2026-02-03T04:05:06.789Z"),
        day: new Date("2026-02-03"),
        span: "1 day -01:59:59.5",
        float: 0.1 + 0.2,
        isolation: "read committed",
      };
      expect(await values(db)).toEqual(usual);
      expect(await db.transaction(values)).toEqual(usual);
      const found = await db.query<{ name: string; setting: string }>(
        "select name, setting from pg_settings where name = any ($1)",
        [Object.keys(pinned)],
      );
      // DateStyle also says the order of day and month, which is free.
      expect(Object.fromEntries(found.map(({ name, setting }) => [name, setting.split(",")[0]]))).toEqual(pinned);
      // Somebody may set it later: both forms are read.
      const escaped = await db.transaction(async (tx) => {
        await tx.script("set local bytea_output = escape");
        return values(tx);
      });
      expect(escaped).toEqual(usual);
      expect(await story(db)).toEqual(expected);
    },
  );

  it("finds nothing of perch's settings in the sessions that a proxy shares", async () => {
    const url = new URL(t.url ?? "");
    const pooler = await startTransactionPooler(Number(url.port), 1);
    closers.push(() => pooler.close());
    const address = pooler.url(url.href);
    const stranger = new pg.Client({ connectionString: address });
    await stranger.connect();
    closers.push(() => stranger.end());
    await stranger.query("set bytea_output = 'escape'");
    const db = openPostgres({ url: address });
    closers.push(() => db.close());
    expect(await db.query("select $1::bytea as bytes", [bytes])).toEqual([{ bytes }]);
    expect(await db.transaction((tx) => tx.query("select $1::bytea as bytes", [bytes]))).toEqual([{ bytes }]);
    expect((await stranger.query("show bytea_output")).rows).toEqual([{ bytea_output: "escape" }]);
  });

  it("keeps a limit for statements that is lower than perch's", async () => {
    const url = new URL(t.url ?? "");
    url.username = login;
    closers.push(() => t.db.query(`alter role ${login} reset all`));
    const shown = async () => {
      const db = openPostgres({ url: url.href, queryTimeoutMs: 10_000, poolSize: 1 });
      closers.push(() => db.close());
      return db.query("show statement_timeout");
    };
    expect(await shown()).toEqual([{ statement_timeout: "9s" }]);
    await t.db.query(`alter role ${login} set statement_timeout = '250ms'`);
    expect(await shown()).toEqual([{ statement_timeout: "250ms" }]);
    await t.db.query(`alter role ${login} set statement_timeout = '1h'`);
    expect(await shown()).toEqual([{ statement_timeout: "9s" }]);
  });
});

it("the embedded database is served as others are when its settings were altered from outside", async () => {
  const db = await openPglite();
  closers.push(() => db.close());
  for (const [name, value] of oddSettings) {
    if (name === "client_encoding") continue;
    await db.query(`alter role postgres set ${name} = '${value}'`);
  }
  const again = await openPglite({ template: { image: () => db.image() } });
  closers.push(() => again.close());
  const [row] = await again.query("select $1::bytea as bytes, current_setting('transaction_isolation') as isolation", [
    bytes,
  ]);
  expect(row).toEqual({ bytes, isolation: "read committed" });
});
