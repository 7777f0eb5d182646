import type { MigrationFile } from "./migration-sources.js";
import type { Database } from "./types.js";

/**
 * A migration that says so in its first line (`-- perch: no transaction`) is applied outside a transaction: it makes indexes on tables that may be
 * large CONCURRENTLY, which a transaction cannot. Nobody waits for that; it waits for those whose transactions are open.
 *
 * What is done is kept when it is broken off in the midst, and it is done again from its beginning then: so each of its statements has to bear
 * that (`drop index concurrently if exists` before each `create index concurrently`). What comes before it in the order is committed by then.
 *
 * Each statement ends a line with its semicolon, and none has a body: whoever sends two at once has sent a transaction.
 */
export function statementsOf({ name, up }: Pick<MigrationFile, "name" | "up">): string[] {
  const code = up.replaceAll(/^\s*--.*$/gm, "");
  if (/\$\w*\$|^\s*(begin|commit|rollback)\b/im.test(code))
    throw new Error(
      `migrations/${name}.sql runs outside a transaction, and has a statement with a body, or one of transactions`,
    );
  return code
    .split(/;\s*$/m)
    .map((statement) => statement.trim())
    .filter((statement) => statement !== "");
}

/** Of one session nobody waits for another: there it is done like the rest. */
export const withinTransaction = (up: string): string => up.replaceAll(/\bconcurrently\b/gi, "");

const invalidSql = `
select i.indexrelid::regclass::text as name
  from pg_index i join pg_class c on c.oid = i.indexrelid
 where c.relnamespace = 'perch'::regnamespace and not i.indisvalid`;

/**
 * Applies one such migration, and notes that it was. Another transaction holds `lock` meanwhile, so that one process does it; it reads and
 * writes nothing else, so that the index does not wait for it. Errors: as its statements; when others' transactions were open for longer than
 * `patienceMs`; when it leaves an index that is not valid.
 */
export async function applyOutside(
  db: Database & Required<Pick<Database, "outside">>,
  file: MigrationFile,
  { lock, patienceMs }: { lock: string; patienceMs: number },
): Promise<void> {
  await db.transaction(async (holder) => {
    await holder.script(`set transaction isolation level read committed;
                         set local lock_timeout = '500ms';
                         set local idle_in_transaction_session_timeout = 0;
                         set local role perch_owner;
                         set local search_path = pg_catalog;
                         ${lock}`);
    const done = await holder.query("select from perch.migrations m where m.name = $1", [file.name]);
    if (done.length > 0) return;
    // What was asked last keeps its snapshot until something else is, and the index would wait for that.
    await holder.script("select");
    await db.outside([
      "set role perch_owner",
      "set search_path = pg_catalog",
      "set statement_timeout = 0",
      `set lock_timeout = ${Math.max(1, Math.ceil(patienceMs))}`,
      ...statementsOf(file),
    ]);
    const invalid = await holder.query<{ name: string }>(invalidSql);
    if (invalid.length > 0)
      throw new Error(
        `migrations/${file.name}.sql left ${invalid.map(({ name }) => name).join(", ")}, which is not valid`,
      );
    await holder.query("insert into perch.migrations (name, run_on, breaking) values ($1, clock_timestamp(), $2)", [
      file.name,
      file.breaking,
    ]);
  });
}
