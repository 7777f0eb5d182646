import { type MigrateResult, migrate } from "../database/migrate.js";
import { migrationScript } from "../database/migration-script.js";
import { readMigrationSources } from "../database/migration-sources.js";
import { type MigrationStatus, migrationStatus, whatDownDrops } from "../database/migration-status.js";
import type { Database } from "../database/types.js";
import { type Command, databaseOption, databaseOptionHelp, parseCommandLine, UsageError } from "./command.js";
import { type ConnectOptions, connect, isMadeMigrated } from "./connect.js";

const help = `Usage: perch migrate [up|down|status|sql] [options]

  up       apply what is missing, and mend what is otherwise than perch made it (the default)
  down     take back the newest migration, and with it its tables and their data; says which, and does it with --yes
  status   say what is applied and what is missing; exit code 1 when something is
  sql      print all that "up" does as one script for psql; needs no database

Options:
${databaseOptionHelp}
  --count N            how many migrations "down" takes back; default 1
  --yes                "down" drops what it says

The login needs CREATEROLE and CREATE on the database, but need not be superuser.
Any number of processes may migrate one database at the same time, while others use it: "up" waits for no lock longer than
half a second, and tries again for ten minutes, saying on stderr who is in its way.
`;

const print = (line: string) => process.stdout.write(`${line}\n`);
const onWait = (message: string) => process.stderr.write(`perch: ${message}\n`);

/** What was applied to a database that was made as a migrated one: all that there is. */
async function appliedToAll(): Promise<MigrateResult> {
  const { migrations, files } = await readMigrationSources();
  const names = migrations.map(({ name }) => name);
  return { migrations: names, changedFiles: files.map(({ path }) => path), mended: [], differences: [] };
}

async function up(db: Database): Promise<MigrateResult> {
  if (isMadeMigrated(db)) return appliedToAll();
  return migrate(db, { onWait });
}

async function withDatabase<T>(
  url: string | undefined,
  work: (db: Database) => Promise<T>,
  options: ConnectOptions = {},
): Promise<T> {
  const { db } = await connect({ ...options, ...(url === undefined ? {} : { url }) });
  try {
    return await work(db);
  } finally {
    await db.close();
  }
}

function reportUp({ migrations, changedFiles, mended, differences }: MigrateResult): void {
  for (const name of migrations) print(`applied ${name}`);
  if (changedFiles.length > 0) print(`applied sql/, ${changedFiles.length} files new or changed`);
  for (const detail of mended) print(`mended   ${detail}`);
  for (const { detail, remedy } of differences) print(`left     ${detail}\n         → ${remedy}`);
  if (migrations.length + changedFiles.length + mended.length === 0) print("up to date, nothing to do");
}

function reportStatus({ applied, pending, unknown, changedFiles, newer, breaking }: MigrationStatus): number {
  for (const name of applied)
    print(`applied  ${name}${unknown.includes(name) ? "  (unknown to this version of perch)" : ""}`);
  for (const name of pending) print(`missing  ${name}`);
  if (!newer) for (const path of changedFiles) print(`changed  ${path}`);
  if (breaking.length > 0)
    print(`the database is newer than this version of perch, which cannot run on it: ${breaking.join(", ")}`);
  else if (newer) print("the database is newer than this version of perch");
  else if (pending.length + changedFiles.length === 0) print("up to date");
  else print("run: perch migrate up");
  return pending.length + changedFiles.length === 0 && !newer ? 0 : 1;
}

async function run(args: string[]): Promise<number | undefined> {
  const { values, positionals } = parseCommandLine(args, {
    ...databaseOption,
    count: { type: "string" },
    yes: { type: "boolean" },
  });
  const [action = "up", ...rest] = positionals;
  if (rest.length > 0) throw new UsageError(`unexpected argument "${rest[0]}"`);
  const url = values["database-url"];
  const count = Number(values.count ?? 1);
  if (values.yes && action !== "down") throw new UsageError("--yes goes with down: perch migrate down --yes");
  if (values.count !== undefined && action !== "down")
    throw new UsageError("--count goes with down: perch migrate down --count 2");
  if (!Number.isSafeInteger(count) || count < 1) throw new UsageError("--count must be a whole number from 1");

  switch (action) {
    case "up":
      reportUp(await withDatabase(url, up, { begin: "migrated" }));
      return 0;
    case "down": {
      if (!values.yes) {
        for (const line of await withDatabase(url, (db) => whatDownDrops(db, { count }), { existing: true }))
          print(line);
        print("nothing was done; with --yes it is");
        return 1;
      }
      const { migrations } = await withDatabase(url, (db) => migrate(db, { direction: "down", count, onWait }), {
        existing: true,
      });
      for (const name of migrations) print(`took back ${name}`);
      if (migrations.length === 0) print("nothing to take back");
      return 0;
    }
    case "status":
      return reportStatus(await withDatabase(url, migrationStatus, { share: true, existing: true }));
    case "sql":
      process.stdout.write(await migrationScript());
      return 0;
    default:
      throw new UsageError(`unknown action "${action}": expected up, down, status or sql`);
  }
}

export const command: Command = { help, run };
