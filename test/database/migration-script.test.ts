import { spawnSync } from "node:child_process";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { migrate } from "../../src/database/migrate.js";
import { migrationScript } from "../../src/database/migration-script.js";
import { openDatabase } from "../../src/database/open.js";
import { packageRoot } from "../../src/database/package-root.js";
import { openPglite } from "../../src/database/pglite.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { describeEachEngine, emptyDatabase } from "../support/databases.js";
import { runPerch, runProgram } from "../support/processes.js";
import { schemaLines, schemaVersions } from "../support/schema.js";

const hasPsql = spawnSync("psql", ["--version"]).status === 0;

/** As a DBA does: with psql where there is one, otherwise as the same single message over a plain connection. */
async function applyScript(db: Database, url: string | undefined, script: string): Promise<void> {
  if (url !== undefined && hasPsql) {
    const psql = await runProgram("psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", url], {
      input: script,
      // "does not exist, skipping" is what "if exists" is for.
      env: { PGOPTIONS: "-c client_min_messages=warning" },
    });
    expect({ code: psql.code, stderr: psql.stderr }).toEqual({ code: 0, stderr: "" });
    return;
  }
  // The script brings its own BEGIN and COMMIT; these give it a connection and end in nothing.
  await db.transaction((tx) => tx.script(`commit;\n${script}\nbegin;`));
}

describeEachEngine("the script of perch migrate sql", (open, engine) => {
  const empty = async (): Promise<[Database, string | undefined]> => {
    if (engine === "PGlite") return [await openPglite(), undefined];
    const url = await emptyDatabase(engine === "Postgres 15" ? 15 : 18);
    return [openPostgres({ url }), url];
  };

  it("gives an empty database the same schema as perch migrate up", async () => {
    const script = await migrationScript();
    const migrated = await open();
    const [db, url] = await empty();
    await applyScript(db, url, script);
    expect(await schemaLines(db)).toEqual(await schemaLines(migrated.db));
    expect(await migrate(db)).toEqual({ migrations: [], changedFiles: [], mended: [], differences: [] });
    await db.close();
  });

  it("gives an older database the same schema, and is harmless when applied again", async () => {
    const script = await migrationScript();
    const { db, url } = await open();
    const whole = await schemaLines(db);
    await migrate(db, { direction: "down", count: 2 });
    await applyScript(db, url, script);
    expect(await schemaLines(db)).toEqual(whole);
    await applyScript(db, url, script);
    expect(await schemaLines(db)).toEqual(whole);
  });

  // One message, which is all that PGlite takes, is one transaction.
  const sendsOneByOne = hasPsql && engine !== "PGlite";
  if (sendsOneByOne)
    it("leaves its transaction for a migration that says so", async () => {
      const root = await mkdtemp(join(tmpdir(), "perch-outside-"));
      for (const part of ["migrations", "sql"])
        await cp(join(packageRoot, part), join(root, part), { recursive: true });
      const index = "create index concurrently later on perch.sync_changes (created_at);";
      await writeFile(
        join(root, "migrations", "9001_index.sql"),
        `-- perch: no transaction\n-- Up Migration\n\ndrop index concurrently if exists perch.later;\n${index}\n`,
      );
      await writeFile(
        join(root, "migrations", "9002_more.sql"),
        "-- Up Migration\ncreate table perch.more (space_id text);\n",
      );
      const [db, url] = await empty();
      const script = await migrationScript({ root });
      for (let time = 0; time < 2; time++) await applyScript(db, url, script);
      const [found] = await db.query<{ there: boolean }>(
        `select i.indisvalid and to_regclass('perch.more') is not null as there
         from pg_index i where i.indexrelid = 'perch.later'::regclass`,
      );
      expect(found).toEqual({ there: true });
      await db.close();
      await rm(root, { recursive: true });
    });

  it("refuses a database that is newer, and leaves it as it was", async () => {
    const { db } = await open();
    await db.query("insert into perch.migrations (name, run_on) values ('9001_newer', now())");
    const before = await schemaVersions(db);
    await expect(applyScript(db, undefined, await migrationScript())).rejects.toThrow("the database is newer");
    expect(await schemaVersions(db)).toEqual(before);
  });
});

it("perch migrate sql prints the script without any database", async () => {
  const printed = await runPerch(["migrate", "sql"], { env: { DATABASE_URL: "postgres://nobody@127.0.0.1:1/none" } });
  expect(printed.code).toBe(0);
  expect(printed.stdout).toBe(await migrationScript());
});

it("opens no database of an unknown kind, and does not repeat the URL", async () => {
  await expect(openDatabase("mysql://root:secret@host/db")).rejects.toThrow(
    /^unknown kind of database URL((?!secret).)*$/,
  );
});
