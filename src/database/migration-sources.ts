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
  /** It is applied outside a transaction; see migrate-outside.ts. */
  outside: boolean;
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
  /** The roles to which it grants to execute the function that it makes. */
  callers: string[];
  /** It compares itself with the catalog (policies, triggers, grants), so it runs whenever anything has changed. */
  reconciles: boolean;
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
      return {
        name: file.replace(/\.sql$/, ""),
        up,
        down,
        breaking: /^-- Breaking\b/.test(text),
        outside: /^-- perch: no transaction\b/.test(text),
      };
    }),
  );
}

const makesPattern = /^create or replace (?:function|view) perch\.(\w+)/gm;
const grantPattern = /^grant execute on function perch\.(\w+) to (perch_\w+(?:, perch_\w+)*);$/gm;

/**
 * `sql/<concept>/api` and `sql/<concept>/internal` make an object a file, each after those that it needs. What stands in a concept's folder
 * itself compares with the catalog what the others made, and comes last. A file elsewhere is a mistake.
 */
async function readSql(root: string): Promise<SqlFile[]> {
  const names = await readdir(join(root, "sql"), { recursive: true });
  const paths = names.map((name) => `sql/${name.replaceAll("\\", "/")}`).filter((path) => path.endsWith(".sql"));
  const files = await Promise.all(
    paths
      .filter((path) => path.split("/").length > 2)
      .sort()
      .map(async (path): Promise<SqlFile> => {
        const [, , place, name] = path.split("/");
        if (name !== undefined && place !== "api" && place !== "internal")
          throw new Error(`${path} is neither in api/ nor in internal/ of its concept`);
        const text = await readFile(join(root, path), "utf8");
        const hash = createHash("sha256").update(text).digest("hex");
        const makes = Array.from(text.matchAll(makesPattern), ([, object = ""]) => object);
        const callers = Array.from(text.matchAll(grantPattern)).flatMap(([, , roles = ""]) => roles.split(", "));
        return { path, text, hash, makes, callers, reconciles: name === undefined };
      }),
  );
  return [...byNeed(files.filter(({ reconciles }) => !reconciles)), ...files.filter(({ reconciles }) => reconciles)];
}

/** What Postgres looks up when a file is applied: all but comments, and bodies that are strings, in which it looks when they are called. */
const lookedUp = (text: string) => text.replaceAll(/^--.*$/gm, "").split(/\$\$|^comment on /m, 1)[0] ?? "";

/** Depth first: each file behind those that make what it needs. */
function byNeed(files: readonly SqlFile[]): SqlFile[] {
  const makers = new Map(files.flatMap((file) => file.makes.map((name): [string, SqlFile] => [name, file])));
  const ordered = new Set<SqlFile>();
  const begun = new Set<SqlFile>();
  const add = (file: SqlFile) => {
    if (begun.has(file)) return;
    begun.add(file);
    for (const [, name = ""] of lookedUp(file.text).matchAll(/\bperch\.(\w+)/g)) {
      const maker = makers.get(name);
      if (maker !== undefined) add(maker);
    }
    ordered.add(file);
  };
  for (const file of files) add(file);
  return [...ordered];
}

let own: Promise<MigrationSources> | undefined;

/**
 * Reads `migrations/` and `sql/` of the package, or of another folder of the same shape. The package's are read once: whatever is installed over it
 * meanwhile, a process goes by the SQL that belongs to its code.
 */
export function readMigrationSources(root: string = packageRoot): Promise<MigrationSources> {
  if (root !== packageRoot) return read(root);
  own ??= read(root).catch((error: unknown) => {
    own = undefined;
    throw error;
  });
  return own;
}

async function read(root: string): Promise<MigrationSources> {
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
