/**
 * `perch/testing`: for the test suites of applications that use perch.
 * @module
 */
import { openPglite } from "./database/pglite.js";
import { becomeItself, databaseTemplate } from "./database/template.js";
import type { Database } from "./database/types.js";

export type { Database, Queryable, Transaction } from "./database/types.js";

/**
 * A new, empty database with everything migrated, in memory (PGlite): the same SQL as on a server, with nothing to install.
 * Close each: a process with one takes some 175 MB, each that is open beside it 75 MB more.
 */
export async function createTestDatabase(): Promise<Database> {
  return openPglite({ template: { image: databaseTemplate, finish: becomeItself } });
}

/** A server in this process, as `perch start` without a key: a token is a plain user id. */
export interface TestServer extends AsyncDisposable {
  /** Of HTTP: `${url}/v1/push`. */
  readonly url: string;
  /** Of Loro clients. */
  readonly syncUrl: string;
  /** The database that it serves: for what the test prepares or looks at, with all rights. */
  readonly db: Database;
  /** Ends the server and its database. */
  close(): Promise<void>;
}

/**
 * Worker and gateway over a new database of `createTestDatabase`, on a free port of 127.0.0.1. Close each.
 * In: settings as environment variables, `{ PERCH_RECHECK_MS: "100" }`; those of the process are not read. Errors: UsageError for a setting that is wrong.
 */
export async function startTestServer(settings: Readonly<Record<string, string>> = {}): Promise<TestServer> {
  // Only who serves waits for the server's code.
  const [{ pino }, { serve }, { serveSettings }] = await Promise.all([
    import("pino"),
    import("./cli/serve.js"),
    import("./cli/settings.js"),
  ]);
  const read = serveSettings({ development: true }, { PERCH_PORT: "0", ...settings });
  const db = await createTestDatabase();
  try {
    const { gateway, close: end } = await serve(db, read, pino({ level: "silent" }));
    let closing: Promise<void> | undefined;
    const close = () => {
      closing ??= end().then(() => db.close());
      return closing;
    };
    const syncUrl = `${gateway.url.replace(/^http/, "ws")}/sync`;
    return { url: gateway.url, syncUrl, db, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await db.close();
    throw error;
  }
}
