import type { RunnerOption } from "node-pg-migrate";
import { withinTransaction } from "./migrate-outside.js";
import type { MigrationSources } from "./migration-sources.js";
import type { Transaction } from "./types.js";

/** Runs a script, and says where it failed. */
export type Apply = (name: string, text: string) => Promise<void>;

/** Runs a script of several statements. Errors: with the name and the line it failed at. */
export async function applyFile(tx: Transaction, name: string, text: string): Promise<void> {
  try {
    await tx.script(text);
  } catch (error) {
    throw located(name, text, error);
  }
}

/** Postgres's hint for these is to drop what is an app's own. */
const dependentObjects = "2BP01";

/** The error with the file and the line it points at. */
function located(name: string, text: string, error: unknown): Error {
  const { message, position, detail, hint, code } = error as {
    message: string;
    position?: string | number;
    detail?: unknown;
    hint?: string;
    code?: string;
  };
  const line = position === undefined ? "" : ` line ${text.slice(0, Number(position)).split("\n").length}`;
  const advice = code === dependentObjects ? "drop those first, and make them again afterwards" : hint;
  const more = [typeof detail === "string" ? detail : undefined, advice].filter(Boolean).join("; ");
  return new Error(`${name}${line}: ${message}${more ? ` (${more})` : ""}`, { cause: error });
}

/** Runs migrations, or takes them back, within a transaction of ours. Out: their names. */
export async function runMigrations(
  tx: Transaction,
  apply: Apply,
  sources: MigrationSources,
  move: Pick<RunnerOption, "direction"> & { count?: number },
): Promise<string[]> {
  let current = "migrations";
  const silent = () => undefined;
  // A tenth of what loading perch takes, and few processes migrate.
  const { runner } = await import("node-pg-migrate");
  const done = await runner({
    ...move,
    dbClient: clientOf(tx, (sql) => {
      const outside = sources.migrations.some((file) => file.outside && current === `migrations/${file.name}.sql`);
      return apply(current, outside ? withinTransaction(sql) : sql);
    }) as never,
    dir: sources.migrationsDir,
    migrationsTable: "migrations",
    migrationsSchema: "perch",
    // Numbers are given out before the files are written, so a database may have had a higher one first.
    checkOrder: false,
    singleTransaction: true,
    // The lock is ours, held since before the roles were made.
    noLock: true,
    logger: {
      debug: silent,
      info: (message: string) => {
        const started = /^### MIGRATION (.*) \(/.exec(message);
        if (started?.[1]) current = `migrations/${started[1]}.sql`;
      },
      warn: silent,
      error: silent,
    },
  });
  const names = done.map(({ name }) => name);
  const breaking = sources.migrations.filter((file) => file.breaking && names.includes(file.name));
  if (move.direction === "up" && breaking.length > 0) {
    await tx.query("update perch.migrations set breaking = true where name = any ($1)", [
      breaking.map(({ name }) => name),
    ]);
  }
  return names;
}

/** A transaction of ours as the client node-pg-migrate wants; beginning and ending it stays with us. */
function clientOf(tx: Transaction, run: (sql: string) => Promise<void>) {
  return {
    async query(sql: string, params?: unknown[]) {
      if (/^(BEGIN|COMMIT|ROLLBACK);?$/.test(sql)) return { rows: [] };
      // Its own questions about the ledger; a migration is never a lone SELECT.
      if (sql.startsWith("SELECT ")) return { rows: await tx.query(sql, params) };
      await run(sql);
      return { rows: [] };
    },
  };
}
