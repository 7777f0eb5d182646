import { noteFiles } from "./definitions.js";
import { migrationLock, migrationSettings } from "./migrate.js";
import { statementsOf } from "./migrate-outside.js";
import { type MigrationFile, readMigrationSources, type SqlFile } from "./migration-sources.js";

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;

const title = (text: string) => `\n-- ${text} ${"-".repeat(Math.max(3, 124 - text.length))}\n`;

const beginning = `begin;
set transaction isolation level read committed;
set local client_encoding = 'UTF8';
set local client_min_messages = warning;
-- Behind a lock that is waited for everybody waits: when others hold what is needed here for longer, apply it again later.
set local lock_timeout = '500ms';
`;

/** A migration runs once, whatever the script finds: so its text is carried in a block that looks at the ledger first. */
function guarded({ name, up, breaking, outside }: MigrationFile): string {
  if (outside) {
    return [
      title(`migrations/${name}.sql`),
      "-- Outside a transaction: what comes before it is committed, and it can be done again when it was broken off.\ncommit;\n",
      `select not exists (select from perch.migrations m where m.name = ${quoted(name)}) as outside \\gset\n\\if :outside\n`,
      "set role perch_owner;\nset search_path = pg_catalog;\nset lock_timeout = 0;\nset client_min_messages = warning;\n",
      statementsOf({ name, up })
        .map((statement) => `${statement};\n`)
        .join(""),
      `insert into perch.migrations (name, run_on, breaking) values (${quoted(name)}, now(), ${breaking});\n`,
      `reset all;\nreset role;\n\\endif\n${beginning}${migrationSettings}${migrationLock}`,
    ].join("");
  }
  const tag = `$migration_${name.replaceAll(/[^A-Za-z0-9_]/g, "_")}$`;
  if (up.includes(tag)) throw new Error(`migrations/${name}.sql contains ${tag}`);
  return [
    title(`migrations/${name}.sql`),
    "do $guard$\nbegin\n",
    `  if exists (select from perch.migrations m where m.name = ${quoted(name)}) then return; end if;\n`,
    `  execute ${tag}\n${up.trim()}\n${tag};\n`,
    // The clock of a database may be too coarse to tell two migrations apart.
    "  insert into perch.migrations (id, name, run_on, breaking)\n",
    "  select greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint, max(m.id) + 1),\n",
    `         ${quoted(name)}, now(), ${breaking} from perch.migrations m;\n`,
    "end\n$guard$;\n",
  ].join("");
}

/** A file is applied where the database has another text of it, or has lost something that it makes. */
function changed({ path, text, hash, makes, reconciles }: SqlFile): string {
  if (reconciles) return `${title(path)}${text.trimEnd()}\n`;
  const tag = `$file_${path.replaceAll(/[^A-Za-z0-9_]/g, "_")}$`;
  if (text.includes(tag)) throw new Error(`${path} contains ${tag}`);
  const missing = `not array[${makes.map(quoted).join(", ")}]::text[] <@ array(
       select p.proname::text from pg_proc p where p.pronamespace = 'perch'::regnamespace
       union all select c.relname::text from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind = 'v')`;
  return [
    title(path),
    "do $guard$\nbegin\n",
    `  if exists (select from perch.applied_sql a where a.path = ${quoted(path)} and a.hash = ${quoted(hash)})\n`,
    `     and not (${missing}) then return; end if;\n`,
    `  execute ${tag}\n${text.trim()}\n${tag};\n`,
    "end\n$guard$;\n",
  ].join("");
}

function refuseNewer(names: readonly string[], version: string): string {
  return `do $newer$
declare
  unknown text := (select string_agg(m.name, ', ' order by m.id) from perch.migrations m
                    where m.name <> all (array[${names.map(quoted).join(", ")}]::text[]));
begin
  if unknown is not null then
    raise exception 'the database is newer than this script: it has had %', unknown;
  end if;
  if exists (select from perch.applied_release r where string_to_array(split_part(r.version, '-', 1), '.')::int[]
                > string_to_array(split_part(${quoted(version)}, '-', 1), '.')::int[]) then
    raise exception 'the database is newer than this script: a later version of perch has migrated it';
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
  const { version, bootstrap, ledger, migrations, files } = await readMigrationSources(options.root);
  const row = ({ path, hash, callers }: SqlFile) => `  (${quoted(path)}, ${quoted(hash)}, '{${callers}}'::text[])`;
  return [
    "-- The schema of perch: psql -v ON_ERROR_STOP=1 -f this-file -d database\n",
    "-- One transaction: either all of it is applied or nothing. Harmless when applied again.\n",
    beginning,
    title("sql/bootstrap.sql"),
    bootstrap,
    migrationSettings,
    title("sql/ledger.sql"),
    ledger,
    migrationLock,
    refuseNewer(
      migrations.map(({ name }) => name),
      version,
    ),
    ...migrations.map(guarded),
    ...files.filter(({ reconciles }) => !reconciles).map(changed),
    title("what has been applied"),
    `${noteFiles(`select * from (values\n${files.map(row).join(",\n")}) as w (path, hash, callers)`)};\n`,
    ...files.filter(({ reconciles }) => reconciles).map(changed),
    `insert into perch.applied_release as r (version) values (${quoted(version)})\n`,
    "on conflict (only_row) do update set version = excluded.version, applied_at = clock_timestamp() where r.version <> excluded.version;\n",
    "commit;\n",
  ].join("");
}
