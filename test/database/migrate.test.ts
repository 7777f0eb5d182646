import { mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { migrate } from "../../src/database/migrate.js";
import { canServe, migrationStatus } from "../../src/database/migration-status.js";
import { packageRoot } from "../../src/database/package-root.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Queryable } from "../../src/database/types.js";
import { describeEachEngine, describeEachPostgres } from "../support/databases.js";
import { schemaLines, schemaVersions } from "../support/schema.js";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "perch-migrations-"));
});

afterAll(() => rm(folder, { recursive: true }));

/** A later version of perch: what there is, and more files. */
async function laterVersion(name: string, files: Record<string, string>): Promise<string> {
  const root = join(folder, name);
  const sources = ["migrations", "sql"].flatMap((part) =>
    readdirSync(join(packageRoot, part), { recursive: true, encoding: "utf8" }).map((path) => join(part, path)),
  );
  for (const path of sources.filter((path) => path.endsWith(".sql") && !(path in files))) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    symlinkSync(join(packageRoot, path), join(root, path));
  }
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return root;
}

const outside = {
  "migrations/9001_index.sql": `-- perch: no transaction
-- Up Migration
-- Again: it may have been broken off; this one is of no use then.
drop index concurrently if exists perch.later;
create index concurrently later
  on perch.sync_changes (created_at, "user_id");

-- Down Migration
drop index perch.later;
`,
  "migrations/9002_more.sql": `-- Up Migration
create table perch.more (space_id text);
-- Down Migration
drop table perch.more;
`,
};

const laterIndex = async (db: Queryable) =>
  (
    await db.query<{ valid: boolean }>(
      "select i.indisvalid as valid from pg_index i where i.indexrelid = to_regclass('perch.later')",
    )
  ).map(({ valid }) => valid);

describeEachPostgres("a migration that is applied outside a transaction", (open, engine) => {
  it("lets others write while it waits, is done by one of several, and is begun anew when it was broken off", async () => {
    const { db, asUser } = await open();
    const root = await laterVersion(`outside-waiting-${engine}`, outside);
    const push = (id: string) => (tx: Queryable) =>
      tx.query("select perch.push('app', $1, 'c')", [JSON.stringify([{ op: "insert", table: "t", id }])]);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const holding = asUser("ada", async (tx) => {
      await push("held")(tx);
      await held;
    });
    const onWait = () => undefined;
    const given = migrate(db, { root, patienceMs: 1_500, onWait });
    given.catch(() => undefined);
    await expect.poll(() => laterIndex(db), { timeout: 20_000 }).toEqual([false]);
    await asUser("bob", push("meanwhile"));
    await expect(given).rejects.toMatchObject({ message: expect.stringContaining("given up") });
    expect((await migrationStatus(db, { root })).pending).toEqual(["9001_index", "9002_more"]);

    const both = [migrate(db, { root, onWait }), migrate(db, { root, onWait })];
    await expect.poll(() => laterIndex(db), { timeout: 20_000 }).toEqual([false]);
    release();
    await holding;
    const done = await Promise.all(both);
    expect(done.flatMap(({ migrations }) => migrations).filter((name) => name === "9002_more")).toHaveLength(1);
    expect(await laterIndex(db)).toEqual([true]);
    expect(await migrationStatus(db, { root })).toMatchObject({ pending: [], changedFiles: [] });
  });
});

describeEachPostgres("a migration outside a transaction", (open, engine) => {
  it("has a connection of its own, however few there are", async () => {
    const { url } = await open();
    const root = await laterVersion(`outside-alone-${engine}`, outside);
    const db = openPostgres({ url: url as string, poolSize: 1 });
    try {
      expect((await migrate(db, { root })).migrations).toEqual(["9001_index", "9002_more"]);
    } finally {
      await db.close();
    }
  });
});

describeEachEngine("migrate", (open, engine) => {
  const name = (what: string) => `${what}-${engine.replace(" ", "-")}`;

  it("changes nothing when run again", async () => {
    const { db } = await open();
    const before = await schemaVersions(db);
    expect(await migrate(db)).toEqual({ migrations: [], changedFiles: [], mended: [], differences: [] });
    expect(await schemaVersions(db)).toEqual(before);
  });

  it("down to nothing and up again gives the same schema", async () => {
    const { db } = await open();
    const before = await schemaLines(db);
    const { applied } = await migrationStatus(db);
    expect((await migrate(db, { direction: "down", count: 1000 })).migrations).toEqual([...applied].reverse());
    const left =
      "select relname from pg_class where relnamespace = 'perch'::regnamespace and relkind in ('r', 'v') order by 1";
    expect(await db.query(left)).toEqual([
      { relname: "applied_release" },
      { relname: "applied_sql" },
      { relname: "migrations" },
    ]);
    expect((await migrate(db)).migrations).toEqual(applied);
    expect(await schemaLines(db)).toEqual(before);
  });

  it("has records compressed by lz4 where the server has it", async () => {
    const { db } = await open();
    const [server] = await db.query<{ has: boolean }>(
      "select 'lz4' = any (enumvals) as has from pg_settings where name = 'default_toast_compression'",
    );
    if (engine === "Postgres 15") expect(server).toEqual({ has: true });
    const compression =
      "select attcompression as by from pg_attribute where attrelid = 'perch.stored_records'::regclass and attname = 'data'";
    expect(await db.query(compression)).toEqual([{ by: server?.has ? "l" : "" }]);
  });

  it("lets a worker's login, which may not migrate, see how the database stands", async () => {
    const t = await open();
    const status = await migrationStatus(await t.login("perch_worker"));
    expect(status).toMatchObject({ pending: [], unknown: [], changedFiles: [] });
    expect(status.applied).toEqual((await migrationStatus(t.db)).applied);
    expect(await migrationStatus(await t.login("perch_owner"))).toEqual(status);
    await expect(migrate(await t.login("perch_worker"))).rejects.toThrow(
      /sql\/bootstrap\.sql.*grant perch_owner, perch_app to/,
    );
  });

  it("applies what says so outside a transaction, in its order, once, and takes it back", async () => {
    const { db } = await open();
    const root = await laterVersion(name("outside"), outside);
    expect((await migrate(db, { root })).migrations).toEqual(["9001_index", "9002_more"]);
    expect(await laterIndex(db)).toEqual([true]);
    expect((await migrate(db, { root })).migrations).toEqual([]);
    expect((await migrate(db, { root, direction: "down", count: 2 })).migrations).toEqual(["9002_more", "9001_index"]);
    expect(await laterIndex(db)).toEqual([]);
  });

  it("down takes back the newest migration only", async () => {
    const { db } = await open();
    const { applied } = await migrationStatus(db);
    expect((await migrate(db, { direction: "down" })).migrations).toEqual(applied.slice(-1));
    expect((await migrationStatus(db)).pending).toEqual(applied.slice(-1));
    expect((await migrate(db)).migrations).toEqual(applied.slice(-1));
  });

  it("says what a database lacks and applies just that", async () => {
    const { db } = await open();
    const root = await laterVersion(name("later"), {
      "migrations/9001_later.sql":
        "-- Up Migration\ncreate table perch.later ();\n-- Down Migration\ndrop table perch.later;\n",
      "sql/identity/api/later.sql":
        "create or replace function perch.later() returns int language sql as 'select 7';\n",
    });
    const status = await migrationStatus(db, { root });
    expect(status).toMatchObject({
      pending: ["9001_later"],
      unknown: [],
      changedFiles: ["sql/identity/api/later.sql"],
    });
    expect(await migrate(db, { root })).toMatchObject({
      migrations: ["9001_later"],
      changedFiles: ["sql/identity/api/later.sql"],
    });
    expect(await db.query("select perch.later() as value")).toEqual([{ value: 7 }]);
    expect(await migrate(db, { root, direction: "down" })).toMatchObject({
      migrations: ["9001_later"],
      changedFiles: [],
    });
  });

  it("touches nothing but what has changed: no policy, trigger, grant, view or other function", async () => {
    const { db } = await open();
    const versions = async () =>
      new Map(
        (await schemaVersions(db))
          .map((row) => row as { kind: string; id: string; version: string })
          .map(({ kind, id, version }) => [`${kind} ${id}`, version]),
      );
    const path = "sql/identity/api/personal_space_id.sql";
    const text = await readFile(join(packageRoot, path), "utf8");
    const root = await laterVersion(name("touched"), { [path]: `-- Another comment.\n${text}` });
    const before = await versions();
    expect(await migrate(db, { root })).toMatchObject({ migrations: [], changedFiles: [path] });
    const [changed] = await db.query<{ id: string }>("select 'perch.personal_space_id'::regproc::oid::text as id");
    const differing = [...(await versions())].filter(([thing, version]) => before.get(thing) !== version);
    expect(differing.map(([thing]) => thing).sort()).toEqual([`file ${path}`, `function ${changed?.id}`]);
    expect(await migrate(db, { root })).toMatchObject({ migrations: [], changedFiles: [] });
  });

  it("puts right what differs from the catalog in what it compares, and leaves what is not its own", async () => {
    const { db } = await open();
    const wanted = await schemaLines(db);
    const ours = [
      "drop policy may_read on perch.documents",
      "alter policy may_insert on perch.stored_records with check (true)",
      "alter policy may_read on perch.sync_changes to perch_app",
      "create policy author on perch.documents using (true)",
      "alter table perch.spaces no force row level security",
      "drop trigger notify on perch.document_inbox",
      "alter table perch.space_heads disable trigger notify_next",
      "revoke execute on function perch.append_updates from perch_worker",
      "grant execute on function perch.append_updates to public",
      "grant insert (data), delete on perch.stored_records to perch_app",
      "revoke usage on schema perch from perch_app",
      "drop function perch.personal_space_id cascade",
    ];
    for (const sql of ours) await db.query(sql);
    expect(await schemaLines(db)).not.toEqual(wanted);
    await migrate(db);
    const strays = (lines: string[]) => lines.filter((line) => !wanted.includes(line));
    expect(strays(await schemaLines(db))).toEqual([]);
    expect(await schemaLines(db)).toEqual(wanted);

    const theirs = [
      "create function public.theirs() returns trigger language plpgsql as 'begin return null; end'",
      "create trigger theirs after insert on perch.documents execute function public.theirs()",
      "grant select on perch.records to pg_monitor",
    ];
    for (const sql of theirs) await db.query(sql);
    const kept = await schemaLines(db);
    await db.query("drop function perch.personal_space_id cascade");
    await migrate(db);
    expect(await schemaLines(db)).toEqual(kept);
  });

  it("says which views of others are in the way of one that changes, and not to drop them with it", async () => {
    const { db } = await open();
    await db.query("create view public.report as select * from perch.records");
    const root = await laterVersion(name("view"), {
      "migrations/9001_view.sql": "-- Up Migration\ndrop view perch.records;\n-- Down Migration\nselect 1;\n",
    });
    const refused = migrate(db, { root });
    await expect(refused).rejects.toThrow(
      /9001_view\.sql: .*view (public\.)?report depends on view perch\.records; drop those first/s,
    );
    await expect(refused).rejects.not.toThrow(/CASCADE/);
  });

  it("keeps its ledger without a sequence, which a copy of the database would not have", async () => {
    const { db } = await open();
    expect(
      await db.query(
        "select relname from pg_class where relnamespace = 'perch'::regnamespace and relkind = 'S' and relname like 'migrations%'",
      ),
    ).toEqual([]);
    const rows = await db.query<{ name: string }>("select name from perch.migrations order by id");
    expect(rows.map(({ name }) => name)).toEqual((await migrationStatus(db)).applied);
  });

  it("lets processes of an earlier version run on what a later one has migrated, unless that is marked as breaking", async () => {
    const { db } = await open();
    const table = (name: string) =>
      `-- Up Migration\ncreate table perch.${name} ();\n-- Down Migration\ndrop table perch.${name};\n`;
    const path = "sql/identity/api/personal_space_id.sql";
    const text = await readFile(join(packageRoot, path), "utf8");
    const files = { "migrations/9001_more.sql": table("more"), [path]: `-- Another comment.\n${text}` };
    await migrate(db, { root: await laterVersion(name("compatible"), files) });
    const compatible = await migrationStatus(db);
    expect(compatible).toMatchObject({ newer: true, unknown: ["9001_more"], breaking: [] });
    expect(canServe(compatible)).toBe(true);
    const breaking = {
      ...files,
      "migrations/9002_other.sql": `-- Breaking: what was there is not.\n${table("other")}`,
    };
    await migrate(db, { root: await laterVersion(name("breaking"), breaking) });
    const broken = await migrationStatus(db);
    expect(broken).toMatchObject({ newer: true, unknown: ["9001_more", "9002_other"], breaking: ["9002_other"] });
    expect(canServe(broken)).toBe(false);
  });

  it("knows a database that a later version migrated, also when that added files only, and does not put its own over it", async () => {
    const { db } = await open();
    const { version } = JSON.parse(await readFile(join(packageRoot, "package.json"), "utf8")) as { version: string };
    const later = version.replace(/^\d+/, (major) => String(Number(major) + 1));
    const path = "sql/identity/api/personal_space_id.sql";
    const text = await readFile(join(packageRoot, path), "utf8");
    const root = await laterVersion(name("release"), {
      "package.json": JSON.stringify({ version: later }),
      [path]: `-- Another comment.\n${text}`,
    });
    await migrate(db, { root });
    const status = await migrationStatus(db);
    expect(status).toMatchObject({ newer: true, unknown: [], changedFiles: [path] });
    expect(canServe(status)).toBe(true);
    await expect(migrate(db)).rejects.toThrow(/database is newer/);
    expect(canServe(await migrationStatus(db, { root }))).toBe(true);
  });

  it("refuses a database that is newer than the code", async () => {
    const { db } = await open();
    const root = await laterVersion(name("newer"), {
      "migrations/9001_newer.sql":
        "-- Up Migration\ncreate table perch.newer ();\n-- Down Migration\ndrop table perch.newer;\n",
    });
    await migrate(db, { root });
    const before = await schemaVersions(db);
    await expect(migrate(db)).rejects.toThrow(/database is newer.*9001_newer.*upgrade perch/);
    await expect(migrate(db, { direction: "down" })).rejects.toThrow(/database is newer/);
    expect((await migrationStatus(db)).unknown).toEqual(["9001_newer"]);
    expect(await schemaVersions(db)).toEqual(before);
  });

  it("leaves the database as it was when a file fails, and names the file and the line", async () => {
    const { db } = await open();
    const before = await schemaVersions(db);
    const migration = await laterVersion(name("bad-migration"), {
      "migrations/9001_good.sql":
        "-- Up Migration\ncreate table perch.good ();\n-- Down Migration\ndrop table perch.good;\n",
      "migrations/9002_bad.sql": "-- Up Migration\n\ncreate tabel perch.bad ();\n-- Down Migration\nselect 1;\n",
    });
    await expect(migrate(db, { root: migration })).rejects.toThrow(/^migrations\/9002_bad\.sql line 3: .*tabel/);
    const file = await laterVersion(name("bad-file"), {
      "sql/identity/api/bad.sql": "select 1;\nselect perch.nothing();\n",
    });
    await expect(migrate(db, { root: file })).rejects.toThrow(/^sql\/identity\/api\/bad\.sql line 2: .*nothing/);
    expect(await schemaVersions(db)).toEqual(before);
  });

  it("refuses a file of sql/ that says neither that it is public nor that it is internal", async () => {
    const { db } = await open();
    const root = await laterVersion(name("misplaced"), { "sql/log/misplaced/push.sql": "select 1;\n" });
    await expect(migrate(db, { root })).rejects.toThrow(
      "sql/log/misplaced/push.sql is neither in api/ nor in internal/",
    );
  });

  it("makes what a function or view stands on before it, whatever the files are called", async () => {
    const { db } = await open();
    const root = await laterVersion(name("needs"), {
      "sql/log/api/aa_first.sql":
        "create or replace function perch.aa_first() returns int language sql return perch.zz_last();\n",
      "sql/log/internal/zz_last.sql": "create or replace function perch.zz_last() returns int language sql return 7;\n",
    });
    await migrate(db, { root });
    expect(await db.query("select perch.aa_first() as value")).toEqual([{ value: 7 }]);
  });

  it("sees what another migration committed, under any default isolation", async () => {
    const { db } = await open();
    await db.query("set default_transaction_isolation = 'serializable'");
    expect(await migrate(db)).toEqual({ migrations: [], changedFiles: [], mended: [], differences: [] });
  });

  it("gives PUBLIC no right to anything in the schema", async () => {
    const { db } = await open();
    const rights = await db.query(`
      select p.oid::regprocedure::text as thing from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
       where p.pronamespace = 'perch'::regnamespace and a.grantee = 0
      union all
      select c.oid::regclass::text from pg_class c, aclexplode(c.relacl) a
       where c.relnamespace = 'perch'::regnamespace and a.grantee = 0
      union all
      select 'schema' from pg_namespace n, aclexplode(n.nspacl) a where n.nspname = 'perch' and a.grantee = 0`);
    expect(rights).toEqual([]);
  });

  it("forces row level security on every table, also on its own", async () => {
    const { db } = await open();
    const lax = await db.query(`
      select relname from pg_class
       where relnamespace = 'perch'::regnamespace and relkind in ('r', 'p') and not (relrowsecurity and relforcerowsecurity)`);
    expect(lax).toEqual([]);
  });
});
