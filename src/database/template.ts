import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import { migrate } from "./migrate.js";
import { readMigrationSources } from "./migration-sources.js";
import { packageRoot } from "./package-root.js";
import { openPglite, type PgliteDatabase } from "./pglite.js";

/**
 * A migrated, empty database of PGlite, from which others begin: to unpack it takes a fraction of the time and memory of making one and migrating
 * it. It is made when perch is built, and known by a digest of all that it was made of: where sql/ or the engine has changed
 * since, one is made on the spot.
 */
const folder = join(packageRoot, "dist", "template");

async function digest(): Promise<string> {
  const { bootstrap, ledger, migrations, files, version } = await readMigrationSources();
  // The lockfile and the package pin it.
  const { dependencies } = JSON.parse(await readFile(join(packageRoot, "package.json"), "utf8")) as {
    dependencies: Record<string, string>;
  };
  const engine = dependencies["@electric-sql/pglite"];
  const all = JSON.stringify([
    engine,
    version,
    bootstrap,
    ledger,
    migrations,
    files.map(({ path, text }) => [path, text]),
  ]);
  return createHash("sha256").update(all).digest("hex").slice(0, 32);
}

async function make(): Promise<Uint8Array<ArrayBuffer>> {
  const db = await openPglite();
  try {
    await migrate(db);
    // A third of what would be unpacked, for databases that nobody makes on PGlite.
    for (const unused of ["template1", "template0"]) {
      await db.query(`alter database ${unused} is_template false`);
      await db.query(`drop database ${unused}`);
    }
    await db.query("checkpoint");
    return new Uint8Array(await (await db.dump()).arrayBuffer());
  } finally {
    await db.close();
  }
}

/** Makes the template of this version, and puts it beside the compiled code; there already: nothing happens. For the build. */
export async function prepareTemplate(): Promise<void> {
  const name = `${await digest()}.tar.gz`;
  await mkdir(folder, { recursive: true });
  const there = await readdir(folder);
  if (!there.includes(name)) {
    const packed = await promisify(gzip)(await make());
    // Two builds may do so at once: whoever reads finds a whole one.
    const partial = join(folder, `${process.pid}.part`);
    await writeFile(partial, packed);
    await rename(partial, join(folder, name));
  }
  for (const other of there) if (other !== name) await rm(join(folder, other), { force: true });
}

/** Bytes in memory as PGlite takes them. A Blob of Node puts its bytes together from pieces each time it is read: a fifth of what opening a database takes. */
class WholeBlob extends Blob {
  readonly #bytes: Uint8Array<ArrayBuffer>;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    super([]);
    this.#bytes = bytes;
  }

  override async arrayBuffer(): Promise<ArrayBuffer> {
    const { buffer, byteOffset, byteLength } = this.#bytes;
    return byteLength === buffer.byteLength ? buffer : buffer.slice(byteOffset, byteOffset + byteLength);
  }
}

/** In: a dump. Out: the same for `loadDataDir`, which reads but does not change it. */
export const dumpInMemory = (bytes: Uint8Array<ArrayBuffer>): Blob => new WholeBlob(bytes);

let template: Promise<Blob> | undefined;

async function load(): Promise<Blob> {
  const packed = await readFile(join(folder, `${await digest()}.tar.gz`)).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
    return undefined;
  });
  return dumpInMemory(packed === undefined ? await make() : await promisify(gunzip)(packed));
}

/** The template, as a tar file: prepared, or made now. Kept by the process. */
export function databaseTemplate(): Promise<Blob> {
  template ??= load();
  return template;
}

/** A database that began as the template gets an epoch of its own: a cursor of one log means nothing in another. */
export async function becomeItself(db: PgliteDatabase): Promise<PgliteDatabase> {
  await db.query("select perch.new_epoch()");
  return db;
}
