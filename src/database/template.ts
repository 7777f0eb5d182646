import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { packageRoot } from "./package-root.js";
import { openPglite, type PgliteDatabase } from "./pglite.js";

/**
 * A migrated, empty database of PGlite, from which others begin: to lay out its files takes a fraction of the time and memory of making one and migrating
 * it. It is made when perch is built, and known by a digest of all that it was made of: where sql/ or the engine has changed
 * since, one is made on the spot.
 */
const folder = join(packageRoot, "dist", "template");

const nameOf = (made: string) => `${made}.image`;

let known: string | undefined;

/** Read without leaving the thread: half a thousand small files, which otherwise take longer than opening the database does. */
function digest(): string {
  if (known !== undefined) return known;
  // The lockfile and the package pin the engine.
  const { version, dependencies } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
    version: string;
    dependencies: Record<string, string>;
  };
  const all = createHash("sha256").update(`${version} ${dependencies["@electric-sql/pglite"]}`);
  for (const from of ["migrations", "sql"]) {
    const paths = readdirSync(join(packageRoot, from), { recursive: true, encoding: "utf8" });
    for (const path of paths.filter((each) => each.endsWith(".sql")).sort())
      all.update(`\0${from}/${path}\0`).update(readFileSync(join(packageRoot, from, path)));
  }
  known = all.digest("hex").slice(0, 32);
  return known;
}

async function make(): Promise<Uint8Array> {
  // Where a template is prepared, nobody waits for what makes one.
  const { migrate } = await import("./migrate.js");
  const db = await openPglite();
  try {
    await migrate(db);
    // A third of what would be laid out, for databases that nobody makes on PGlite.
    for (const unused of ["template1", "template0"]) {
      await db.query(`alter database ${unused} is_template false`);
      await db.query(`drop database ${unused}`);
    }
    // What was logged on the way here is needed by nobody: a new file of the log, and the old ones go with the checkpoint.
    await db.query("set wal_recycle = off");
    await db.query("select pg_switch_wal()");
    await db.query("checkpoint");
    return await db.image();
  } finally {
    await db.close();
  }
}

/** Makes the template of this version, and puts it beside the compiled code; there already: nothing happens. For the build. */
export async function prepareTemplate(): Promise<void> {
  const name = nameOf(digest());
  await mkdir(folder, { recursive: true });
  const there = await readdir(folder);
  if (!there.includes(name)) {
    const made = await make();
    // Two builds may do so at once: whoever reads finds a whole one.
    const partial = join(folder, `${process.pid}.part`);
    await writeFile(partial, made);
    await rename(partial, join(folder, name));
  }
  for (const other of there) if (other !== name) await rm(join(folder, other), { force: true });
}

let unprepared: Promise<Uint8Array> | undefined;

/** An image of the template, prepared or made now. Out: bytes that nobody else has. */
export async function databaseTemplate(): Promise<Uint8Array> {
  try {
    // From Node's hands, which has it as long as the file: nothing is copied.
    return await readFile(join(folder, nameOf(digest())));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  unprepared ??= make();
  return (await unprepared).slice();
}

/** A database that began as the template gets an epoch of its own: a cursor of one log means nothing in another. */
export async function becomeItself(db: PgliteDatabase): Promise<PgliteDatabase> {
  await db.query("select perch.new_epoch()");
  return db;
}
