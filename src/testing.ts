/**
 * `perch/testing`: for the test suites of applications that use perch.
 * @module
 */
import { migrate } from "./database/migrate.js";
import { openPglite } from "./database/pglite.js";
import type { Database } from "./database/types.js";

export type { Database, Queryable, Transaction } from "./database/types.js";

let template: Promise<Blob> | undefined;

async function makeTemplate(): Promise<Blob> {
  const db = await openPglite();
  try {
    await migrate(db);
    return await db.dump();
  } finally {
    await db.close();
  }
}

/**
 * A new, empty database with everything migrated, in memory (PGlite): the same SQL as on a server, with nothing to install.
 * The first call of a process migrates, later ones copy. Close each: a database holds some 100 MB.
 */
export async function createTestDatabase(): Promise<Database> {
  template ??= makeTemplate();
  return openPglite({ loadDataDir: await template });
}
