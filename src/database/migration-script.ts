import { migrationLock, migrationSettings } from "./migrate.js";
import { type MigrationFile, readMigrationSources } from "./migration-sources.js";

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;

const title = (text: string) => `\n-- ${text} ${"-".repeat(Math.max(3, 124 - text.length))}\n`;

/** A migration runs once, whatever the script finds: so its text is carried in a block that looks at the ledger first. */
function guarded({ name, up }: MigrationFile): string {
  const tag = `$migration_${name.replaceAll(/[^A-Za-z0-9_]/g, "_")}$`;
  if (up.includes(tag)) throw new Error(`migrations/${name}.sql contains ${tag}`);
  return [
    title(`migrations/${name}.sql`),
    "do $guard$\nbegin\n",
    `  if exists (select from perch.migrations m where m.name = ${quoted(name)}) then return; end if;\n`,
    `  execute ${tag}\n${up.trim()}\n${tag};\n`,
    `  insert into perch.migrations (name, run_on) values (${quoted(name)}, now());\n`,
    "end\n$guard$;\n",
  ].join("");
}

function refuseNewer(names: readonly string[]): string {
  return `do $newer$
declare
  unknown text := (select string_agg(m.name, ', ' order by m.id) from perch.migrations m
                    where m.name <> all (array[${names.map(quoted).join(", ")}]::text[]));
begin
  if unknown is not null then
    raise exception 'the database is newer than this script: it has had %', unknown;
  end if;
end
$newer$;
`;
}

/**
 * All that `perch migrate up` does, as one script for psql, for a DBA who wants to read it before it runs. It may be applied to an
 * empty database, to an older one, or again. Out: the text.
 */
export async function migrationScript(options: { root?: string } = {}): Promise<string> {
  const { bootstrap, ledger, migrations, files } = await readMigrationSources(options.root);
  const rows = files.map(({ path, hash }) => `  (${quoted(path)}, ${quoted(hash)})`).join(",\n");
  return [
    "-- The schema of perch: psql -v ON_ERROR_STOP=1 -f this-file -d database\n",
    "-- One transaction: either all of it is applied or nothing. Harmless when applied again.\n",
    "begin;\n",
    "set transaction isolation level read committed;\n",
    "set local client_encoding = 'UTF8';\n",
    "set local client_min_messages = warning;\n",
    `select pg_advisory_xact_lock(${migrationLock});\n`,
    title("sql/bootstrap.sql"),
    bootstrap,
    migrationSettings,
    title("sql/ledger.sql"),
    ledger,
    refuseNewer(migrations.map(({ name }) => name)),
    ...migrations.map(guarded),
    ...files.map(({ path, text }) => `${title(path)}${text.trimEnd()}\n`),
    title("what has been applied"),
    "delete from perch.applied_sql;\n",
    rows === "" ? "" : `insert into perch.applied_sql (path, hash) values\n${rows};\n`,
    "commit;\n",
  ].join("");
}
