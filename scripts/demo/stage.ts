import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openPglite } from "../../src/database/pglite.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { durable, startPostgresServer } from "../../test/support/postgres-server.js";
import { type PerchProcess, perchProcess } from "../support/perch-process.js";

/** Where the story plays: a perch that is not started yet, and a way to its database. */
export interface Stage {
  readonly name: string;
  readonly perch: PerchProcess;
  /** Connects to the running database as any SQL client would. */
  connect(): Database;
  /** Looks into the database while no perch is running. */
  whileDown<T>(look: (db: Database) => Promise<T>): Promise<T>;
  /** Ends it, and its database with it; or, to keep it, ends the process alone. Out: how it is started again. */
  close(keep?: boolean): Promise<string | undefined>;
}

/** A connection that a killed server breaks is nothing to report: the next query makes a new one. */
const ignore = () => undefined;

/** Where Postgres clients find the embedded database that a running perch has in `folder`. */
export const embeddedUrl = (folder: string) =>
  `postgres://postgres@localhost/postgres?host=${encodeURIComponent(folder)}`;

/** The embedded database, in a folder that goes with the stage. */
export async function embeddedStage(): Promise<Stage> {
  const cwd = await mkdtemp(join(tmpdir(), "perch-demo-"));
  const folder = join(cwd, ".perch");
  const perch = await perchProcess({ cwd });
  return {
    name: "PGlite",
    perch,
    connect: () => openPostgres({ url: embeddedUrl(folder), onError: ignore }),
    async whileDown(look) {
      const db = await openPglite({ dataDir: folder });
      try {
        return await look(db);
      } finally {
        await db.close();
      }
    },
    async close(keep = false) {
      await (keep ? perch.stop() : perch.kill());
      if (keep) return `perch dev --database-url pglite:${folder}`;
      await rm(cwd, { recursive: true, force: true });
      return undefined;
    },
  };
}

/** A database on a Postgres server that runs already; `end`: one that goes with the stage, and then cannot be kept. */
export async function postgresStage(url: string, name: string, end?: () => Promise<void>): Promise<Stage> {
  const perch = await perchProcess({ env: { DATABASE_URL: url } });
  const connect = () => openPostgres({ url, onError: ignore });
  return {
    name,
    perch,
    connect,
    async whileDown(look) {
      const db = connect();
      try {
        return await look(db);
      } finally {
        await db.close();
      }
    },
    async close(keep = false) {
      await (keep ? perch.stop() : perch.kill());
      await end?.();
      return keep && end === undefined ? `perch dev --database-url ${url}` : undefined;
    },
  };
}

/** A Postgres 18 of its own, which waits for the disk as in production. */
export async function ownPostgresStage(): Promise<Stage> {
  const server = await startPostgresServer({
    version: 18,
    settings: durable,
  });
  return postgresStage(server.url(), "Postgres 18", () => server.close());
}
