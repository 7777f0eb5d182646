import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "./package-root.js";

export interface MigrationFile {
  /** The file's name without its ending, as it stands in the ledger. */
  name: string;
  up: string;
  down: string;
  /** Its first line says so, and why: processes of earlier versions cannot run on what it makes. */
  breaking: boolean;
}

export interface SqlFile {
  /** Relative to the package, with forward slashes. */
  path: string;
  text: string;
  hash: string;
  /** The functions and views it makes, without the schema: where one is missing the file is applied, whatever its hash. */
  makes: string[];
}

/** All that a migration applies, in order. */
export interface MigrationSources {
  /** Of perch. */
  version: string;
  migrationsDir: string;
  /** As the migrating login: roles and schema. */
  bootstrap: string;
  /** As perch_owner: the tables that say what has been applied. */
  ledger: string;
  migrations: MigrationFile[];
  files: SqlFile[];
  /** What a migrated database has, as `describeCatalog` writes it; a folder of tests has none. */
  catalog: string | undefined;
}

const sqlIn = async (folder: string) => (await readdir(folder)).filter((name) => name.endsWith(".sql")).sort();

async function readMigrations(folder: string): Promise<MigrationFile[]> {
  const names = await sqlIn(folder);
  return Promise.all(
    names.map(async (file) => {
      const text = await readFile(join(folder, file), "utf8");
      const [up = "", down = ""] = text.split(/^-- Down Migration.*$/m);
      return { name: file.replace(/\.sql$/, ""), up, down, breaking: /^-- Breaking\b/.test(text) };
    }),
  );
}

/** Folders in the order of sql/ORDER, files of a folder by name. A folder that ORDER does not name is a mistake. */
async function readSql(root: string): Promise<SqlFile[]> {
  const sql = join(root, "sql");
  const order = (await readFile(join(sql, "ORDER"), "utf8")).split("\n").filter((line) => line !== "");
  for (const entry of await readdir(sql, { withFileTypes: true })) {
    if (entry.isDirectory() && !order.includes(entry.name))
      throw new Error(`sql/ORDER does not name sql/${entry.name}`);
  }
  const paths: string[] = [];
  for (const folder of order) {
    if (!existsSync(join(sql, folder))) continue;
    for (const name of await sqlIn(join(sql, folder))) paths.push(`sql/${folder}/${name}`);
  }
  return Promise.all(
    paths.map(async (path) => {
      const text = await readFile(join(root, path), "utf8");
      const hash = createHash("sha256").update(text).digest("hex");
      const makes = Array.from(
        text.matchAll(/^create or replace (?:function|view) perch\.(\w+)/gm),
        ([, name = ""]) => name,
      );
      return { path, text, hash, makes };
    }),
  );
}

/** Reads `migrations/` and `sql/` of the package, or of another folder of the same shape. */
export async function readMigrationSources(root: string = packageRoot): Promise<MigrationSources> {
  const migrationsDir = join(root, "migrations");
  const manifest = join(existsSync(join(root, "package.json")) ? root : packageRoot, "package.json");
  const { version } = JSON.parse(await readFile(manifest, "utf8")) as { version: string };
  const [bootstrap, ledger, migrations, files, catalog] = await Promise.all([
    readFile(join(root, "sql", "bootstrap.sql"), "utf8"),
    readFile(join(root, "sql", "ledger.sql"), "utf8"),
    readMigrations(migrationsDir),
    readSql(root),
    readFile(join(root, "docs", "schema.txt"), "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
      return undefined;
    }),
  ]);
  return { version, migrationsDir, bootstrap, ledger, migrations, files, catalog };
}
