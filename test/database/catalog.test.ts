import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { examine } from "../../src/cli/doctor-checks.js";
import { parseCatalog } from "../../src/database/catalog.js";
import { catalogDifferences, compareCatalogs } from "../../src/database/catalog-differences.js";
import { migrate } from "../../src/database/migrate.js";
import { readMigrationSources } from "../../src/database/migration-sources.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { describeEachEngine, emptyDatabase, postgres } from "../support/databases.js";

const sources = await readMigrationSources();
const differences = (db: Database) => catalogDifferences(db, sources);

/** What was done to a database, and how it is named. */
const sabotage: [what: string, sql: string, named: RegExp][] = [
  [
    "a right is revoked from a function",
    "revoke execute on function perch.push from perch_app",
    /function push.*execute.*perch_app|function push.*perch_app is missing/,
  ],
  [
    "a right is revoked from a table",
    "revoke insert on perch.document_updates from perch_worker",
    /table document_updates: .*perch_worker/,
  ],
  [
    "a right is revoked from who owns the table",
    "revoke insert, delete on perch.document_updates from perch_owner",
    /table document_updates: its owner is lacking delete, insert/,
  ],
  [
    "a right is revoked from who owns the function",
    "revoke execute on function perch.push from perch_owner",
    /function push.*: its owner is lacking execute/,
  ],
  [
    "the right to use the schema is revoked",
    "revoke usage on schema perch from perch_app",
    /schema perch: grant usage to perch_app is missing/,
  ],
  [
    "everything is granted to PUBLIC",
    "grant all on all tables in schema perch to public; grant execute on all functions in schema perch to public",
    /table stored_records: grant .* to public is not perch's/,
  ],
  [
    "an application is granted more",
    "grant insert on perch.sync_changes to perch_app",
    /table sync_changes: .*insert.* to perch_app/,
  ],
  [
    "a right on a column is granted",
    "grant update (data) on perch.stored_records to public",
    /table stored_records: grant \(data\) .* is not perch's/,
  ],
  [
    "a trigger is disabled",
    "alter table perch.document_inbox disable trigger notify",
    /table document_inbox: .* disabled, where perch makes/,
  ],
  [
    "a trigger is dropped",
    "drop trigger notify on perch.document_inbox",
    /table document_inbox: CREATE TRIGGER notify .* is missing/,
  ],
  ["a policy is dropped", "drop policy worker on perch.documents", /table documents: policy worker .* is missing/],
  [
    "a policy lets everybody in",
    "create policy everybody on perch.stored_records using (true)",
    /table stored_records: policy everybody .* is not perch's/,
  ],
  [
    "a policy with another name does",
    'create policy "all may, too" on perch.sync_changes using (true)',
    /table sync_changes: policy "all may, too" .* is not perch's/,
  ],
  [
    "a policy is altered",
    "alter policy worker on perch.document_updates using (false)",
    /table document_updates: policy worker .*false.*where perch makes/,
  ],
  [
    "row level security is not forced",
    "alter table perch.sync_changes no force row level security",
    /table sync_changes: owner/,
  ],
  [
    "row level security is off",
    "alter table perch.sync_changes disable row level security",
    /table sync_changes: owner/,
  ],
  [
    "a function belongs to a superuser",
    "alter function perch.push owner to postgres",
    /function push\(.*owner postgres, where perch makes .*owner perch_owner/,
  ],
  [
    "a table belongs to a superuser",
    "alter table perch.stored_records owner to postgres",
    /table stored_records: owner postgres/,
  ],
  [
    "a function finds other tables",
    "alter function perch.push set search_path = public",
    /function push\(.*search_path=public/,
  ],
  ["a function runs as whoever calls", "alter function perch.push security invoker", /function push\(/],
  [
    "a function does something else",
    "create or replace function perch.current_user_id() returns text language sql stable return 'root'::text",
    /function current_user_id\(\)/,
  ],
  [
    "the text of a function is another",
    "do $do$ begin execute replace(pg_get_functiondef('perch.create_space'::regproc), 'begin', 'begin --'); end $do$",
    /function create_space\(.*another text/,
  ],
  [
    "new functions are executable by PUBLIC",
    "alter default privileges for role perch_owner grant execute on functions to public",
    /schema perch: default privileges/,
  ],
];

/** What is done to the tables by which migrating knows what a database has. */
const ledgerSabotage: [sql: string, named: RegExp][] = [
  ["drop policy ledger on perch.migrations", /table migrations: policy ledger .* is missing/],
  ["drop policy worker on perch.applied_sql", /table applied_sql: policy worker .* is missing/],
  ["alter policy ledger on perch.migrations using (false)", /table migrations: policy ledger .*false/],
  ["create policy anybody on perch.applied_release using (true)", /applied_release: policy anybody .* is not perch's/],
  ["revoke select on perch.migrations from perch_owner", /table migrations: its owner is lacking select/],
  ["revoke usage on schema perch from perch_owner", /schema perch: its owner is lacking usage/],
  ["drop function perch.pull", /function pull\(.*\) is missing/],
  ["alter table perch.applied_sql disable row level security", /table applied_sql: owner/],
  ["drop table perch.applied_release", /table applied_release is missing/],
  ["alter schema perch owner to postgres", /schema perch: owner postgres/],
  [
    "alter default privileges for role perch_owner grant execute on functions to public",
    /schema perch: default privileges/,
  ],
];

/** What no migration makes again: doctor says what to run. */
const lasting: [what: string, sql: string, named: RegExp, remedy: RegExp][] = [
  [
    "an index is dropped",
    "drop index perch.document_inbox_pending",
    /index|INDEX document_inbox_pending/i,
    /^create index concurrently document_inbox_pending ON perch\.document_inbox/,
  ],
  [
    "an index is not valid",
    "update pg_index set indisvalid = false where indexrelid = 'perch.document_inbox_pending'::regclass",
    /INDEX document_inbox_pending .* not valid, where perch makes/,
    /^drop index perch.document_inbox_pending, then create index concurrently document_inbox_pending ON perch\.document_inbox/,
  ],
  [
    "a constraint is dropped",
    "alter table perch.space_members drop constraint space_members_role_check",
    /constraint space_members_role_check/,
    /^alter table perch\.space_members add constraint space_members_role_check/,
  ],
  [
    "a column is dropped",
    "alter table perch.document_snapshots drop column snapshot cascade",
    /column snapshot/,
    /restore it from a backup/,
  ],
];

describeEachEngine("a database that is compared with what migrating makes", (open, engine) => {
  it("is no other than that when it was only migrated", async () => {
    const t = await open();
    expect(await differences(t.db)).toEqual([]);
  });

  it("names each thing that is missing, other, or not perch's, and perch migrate up puts it right", async () => {
    const t = await open();
    const undone = new Error("undone");
    for (const [what, sql, named] of sabotage) {
      const work = t.db.transaction(async (tx) => {
        await tx.script(`set local search_path = pg_catalog;\n${sql}`);
        const found = await catalogDifferences(tx, sources);
        expect(
          found.map(({ detail }) => detail).filter((detail) => named.test(detail)),
          what,
        ).not.toEqual([]);
        expect(
          found.filter(({ mended }) => !mended),
          what,
        ).toEqual([]);
        throw undone;
      });
      await expect(work, what).rejects.toBe(undone);
    }
    for (const [, sql] of sabotage) await t.db.transaction((tx) => tx.script(sql));
    const { mended, differences: left } = await migrate(t.db);
    expect(left).toEqual([]);
    expect(mended.length).toBeGreaterThan(sabotage.length);
    expect(await differences(t.db)).toEqual([]);
    expect((await migrate(t.db)).mended).toEqual([]);
  });

  it("has its own ledger mended by perch migrate up, which says so", async () => {
    const t = await open();
    const up = () => migrate(t.db).then((done) => ({ ...done, mended: done.mended.join("\n") }));
    // It is the same Postgres, and takes twice as long: a few of them.
    const some = engine === "PGlite" ? ledgerSabotage.filter((_, index) => index % 4 === 0) : ledgerSabotage;
    for (const [sql, named] of some) {
      await t.db.transaction((tx) => tx.script(sql));
      expect(await up(), sql).toMatchObject({ mended: expect.stringMatching(named), migrations: [], differences: [] });
      expect(await differences(t.db), sql).toEqual([]);
      expect(await up(), sql).toMatchObject({ mended: "", changedFiles: [] });
    }
  });

  it("names what only its owner can make again, with the statement to run, and migrating does not hide it", async () => {
    const t = await open();
    for (const [what, sql, named, remedy] of lasting) {
      await t.db.transaction((tx) => tx.script(sql));
      const found = (await differences(t.db)).find(({ detail }) => named.test(detail));
      expect(found, what).toMatchObject({ level: "error", mended: false, remedy: expect.stringMatching(remedy) });
      expect(
        (await migrate(t.db)).differences.map(({ detail }) => detail),
        what,
      ).toContain(found?.detail);
      const statements = found?.remedy.replace("concurrently ", "").replace(", then ", "; ") ?? "";
      if (/^(create|alter|drop)/.test(statements)) {
        await t.db.transaction((tx) => tx.script(statements));
        expect(
          (await differences(t.db)).filter(({ detail }) => named.test(detail)),
          what,
        ).toEqual([]);
      }
    }
    const [finding] = (await examine(t.db)).filter(({ name }) => name === "catalog");
    expect(finding).toMatchObject({ level: "error", detail: expect.stringContaining("snapshot") });
  });

  it("takes no offence at what is there while services read the logs of all spaces", async () => {
    const { db } = await open();
    await db.query("select perch.register_reader(reader => 'search', app_ids => '{todo}')");
    expect(await differences(db)).toEqual([]);
    await db.query("alter table perch.space_heads disable trigger note_commit");
    expect(await differences(db)).toMatchObject([
      { item: "table space_heads", detail: expect.stringMatching(/note_commit.* disabled/) },
    ]);
  });

  it("takes no offence at what a DBA adds beside it", async () => {
    const t = await open();
    await t.db.transaction((tx) =>
      tx.script(`create role backup_${process.pid} ; grant usage on schema perch to backup_${process.pid};
        grant select on all tables in schema perch to backup_${process.pid};
        create index mine on perch.sync_changes (created_at);
        alter table perch.sync_changes set (autovacuum_vacuum_scale_factor = 0.01)`),
    );
    expect(await differences(t.db)).toEqual([]);
    await t.db.query("create function perch.mine() returns int language sql return 1");
    expect(await differences(t.db)).toMatchObject([{ level: "warning", detail: "function mine() is not perch's" }]);
    await t.db.transaction((tx) => tx.script(`drop owned by backup_${process.pid}; drop role backup_${process.pid}`));
  });

  it("is not taken for another by a login that finds the schema by its search_path", async () => {
    const t = await open();
    const [row] = await t.db.query<{ name: string }>("select current_database() as name");
    await t.db.query(`alter database ${row?.name} set search_path = perch, public`);
    expect(await differences(await t.connect())).toEqual([]);
  });
});

it("two catalogs differ by what either has and the other has not", () => {
  const expected = parseCatalog("table a\n  owner x forced\n  column n integer\n");
  const found = parseCatalog("table a\n  owner y forced\n  column n bigint\n  column m text\n\ntable b\n  owner x\n");
  expect(compareCatalogs(expected, found).map(({ detail }) => detail)).toEqual([
    "table a: owner y forced, where perch makes owner x forced",
    "table a: column n bigint, where perch makes column n integer",
    "table a: column m text is not perch's",
    "table b is not perch's",
  ]);
  const lacking = parseCatalog("schema perch\n  owner x\n  lacking usage on schema perch\n");
  expect(compareCatalogs(parseCatalog("schema perch\n  owner x\n"), lacking)).toMatchObject([
    { level: "error", mended: true, statements: ["grant usage on schema perch to perch_owner"] },
  ]);
});

/** Only a pg_dump of the server's version or a later one can read it. */
const canDump = /1[5-9]\./.test(spawnSync("pg_dump", ["--version"], { encoding: "utf8" }).stdout ?? "");
if (!canDump) console.warn("pg_dump is not installed here: restores are not tested");

const open15 = postgres(15);

/** A database with one change, restored from a dump of it with pg_restore called so, one call after the other. Out: as superuser. */
async function restoredWith(calls: readonly string[]): Promise<Database> {
  const t = await open15();
  await t.asUser("ann", (tx) =>
    tx.query(`select perch.push('app', '[{"op": "insert", "table": "t", "id": "1", "data": {"a": 1}}]', 'c')`),
  );
  const restored = await emptyDatabase(15);
  const folder = mkdtempSync(join(tmpdir(), "perch-restore-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "dump");
  const run = (program: string, ...args: string[]) => {
    const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
    expect({ status, stderr }).toMatchObject({ status: 0 });
  };
  run("pg_dump", "--format", "custom", "--file", file, t.url ?? "");
  for (const flags of calls) {
    run("pg_restore", "--exit-on-error", ...flags.split(" ").filter(Boolean), "--dbname", restored, file);
  }
  const db = openPostgres({ url: restored });
  onTestFinished(() => db.close());
  return db;
}

const recordsOfAnn = (db: Database) =>
  db.transaction(async (tx) => {
    await tx.query("set local role perch_app");
    await tx.query("select perch.set_context('ann')");
    return tx.query("select data from perch.records");
  });

/** But that the servers of tests do not wait for the disk. */
const errorsOf = async (db: Database) =>
  (await examine(db)).filter(({ level, name }) => level === "error" && name !== "durability");

it.runIf(canDump).each(["--no-acl", "--no-owner", "--no-owner --no-acl"])(
  "a restore with %s is named by doctor, and perch migrate up makes it whole",
  async (flags) => {
    const db = await restoredWith([flags]);
    const before = (await errorsOf(db)).filter(({ name }) => name === "catalog");
    expect(before.map(({ remedy }) => remedy).join()).toContain("perch migrate up");
    const { differences: left, mended } = await migrate(db);
    expect(left).toEqual([]);
    expect(mended.length).toBeGreaterThan(100);
    expect(await errorsOf(db)).toEqual([]);
    expect(await recordsOfAnn(db)).toEqual([{ data: { a: 1 } }]);
  },
);

it.runIf(canDump)("a restore of the schema, and then of the data without triggers, is whole", async () => {
  const db = await restoredWith(["--schema-only", "--data-only --disable-triggers"]);
  expect(await errorsOf(db)).toEqual([]);
  expect(await recordsOfAnn(db)).toEqual([{ data: { a: 1 } }]);
});
