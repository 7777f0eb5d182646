import { mkdtempSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import { databaseTemplate } from "../../src/database/template.js";
import { chromiumPath } from "./chromium.js";
import { type PostgresServer, type PostgresVersion, startPostgresServer } from "./postgres-server.js";

/** The database of each server that is migrated once and copied for every test. */
export const templateName = "perch_template";

export interface Templates {
  readonly folder: string;
  /**
   * In: "pglite", "chromium" or a version of Postgres. Out: the path of an image, or of the unpacked program, or the superuser's URL of the server.
   * Made once.
   */
  get(what: string): Promise<string>;
  close(): Promise<void>;
}

async function writeTemplate(folder: string): Promise<string> {
  const path = join(folder, "pglite.image");
  await writeFile(path, await databaseTemplate());
  return path;
}

async function makeServer(version: PostgresVersion): Promise<PostgresServer> {
  const server = await startPostgresServer({ version });
  const admin = openPostgres({ url: server.url() });
  const template = openPostgres({ url: server.url(templateName) });
  try {
    await admin.query(`create database ${templateName}`);
    await migrate(template);
    return server;
  } catch (error) {
    await server.close();
    throw error;
  } finally {
    await admin.close();
    await template.close();
  }
}

export function createTemplates(): Templates {
  const folder = mkdtempSync(join(tmpdir(), "perch-templates-"));
  const made = new Map<string, Promise<string>>();
  const servers: PostgresServer[] = [];

  async function make(what: string): Promise<string> {
    if (what === "pglite") return writeTemplate(folder);
    if (what === "chromium") return chromiumPath();
    const server = await makeServer(Number(what) as PostgresVersion);
    servers.push(server);
    return server.url();
  }

  // One after another: PGlite blocks this process for seconds, in which a connection to a server would time out.
  let busy: Promise<unknown> = Promise.resolve();

  function makeInTurn(what: string): Promise<string> {
    const making = busy.then(() => make(what));
    busy = making.catch(() => {
      // Whoever asks next tries again.
      made.delete(what);
    });
    return making;
  }

  return {
    folder,
    get(what) {
      const known = made.get(what) ?? makeInTurn(what);
      made.set(what, known);
      return known;
    },
    async close() {
      await Promise.allSettled(made.values());
      await Promise.all(servers.map((server) => server.close()));
    },
  };
}
