/** How far an import is, as it is noted beside its file. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { withContext } from "../../src/identity/index.js";
import { exportUser, type ImportOptions, importUser, push } from "../../src/log/index.js";
import { postgres, type TestDatabase } from "../support/databases.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "perch-import-"));
});
afterAll(() => rm(folder, { recursive: true }));

const open = postgres();
const total = 1_600;

/** Out: the file of an export of so many tasks, the first of them in a shared space. */
async function exported(t: TestDatabase, name: string, shared?: string): Promise<string> {
  if (shared !== undefined)
    await withContext(t.db, { userId: "ada" }, (tx) => tx.query("select perch.create_space(space_id => $1)", [shared]));
  for (let from = 0; from < total; from += 400) {
    const changes = Array.from({ length: 400 }, (_, n) => ({
      op: "insert" as const,
      table: "tasks",
      id: `t${from + n}`,
      data: { n: from + n },
      space_id: from === 0 ? shared : undefined,
    }));
    await withContext(t.db, { userId: "ada" }, (tx) => push(tx, { appId: "todo", clientId: "phone", changes }));
  }
  let text = "";
  await exportUser(t.db, {
    userId: "ada",
    write(line) {
      text += line;
    },
  });
  const path = join(folder, name);
  await writeFile(path, gzipSync(text));
  return path;
}

/** Lets so much time pass at each step that it is noted how far it is; breaks off behind so many lines. */
const slowly = (path: string, until = Number.POSITIVE_INFINITY): ImportOptions => ({
  path,
  userId: "bob",
  onProgress({ phase, lines }) {
    if (phase !== "importing") return;
    if (lines >= until) throw new Error("pulled the plug");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
  },
});
const countOf = async (t: TestDatabase) =>
  (await t.db.query<{ count: number }>("select count(*) as count from perch.stored_records where space_id = '~bob'"))[0]
    ?.count;

describe("an import that was broken off", () => {
  it("goes on in no other database, whatever that has", async () => {
    const [rehearsal, production] = [await open(), await open()];
    const path = await exported(rehearsal, "elsewhere.gz");
    await production.db.query("select perch.new_epoch()");
    await importUser(production.db, { path, userId: "bob" });
    // What is to be brought back is among the first lines; the last are there.
    const lost = "space_id = '~bob' and record_id = 't0'";
    await production.db.query(
      `delete from perch.push_receipts where op_id in (select op_id from perch.sync_changes where ${lost})`,
    );
    for (const table of ["stored_records", "sync_changes"])
      await production.db.query(`delete from perch.${table} where ${lost}`);
    expect(await countOf(production)).toBe(total - 1);

    await expect(importUser(rehearsal.db, slowly(path, total))).rejects.toThrow("pulled the plug");
    expect(JSON.parse(await readFile(`${path}.progress`, "utf8"))).toMatchObject({ lines: 1_000 });
    expect(await importUser(production.db, { path, userId: "bob" })).toMatchObject({ resumedAt: 0, rejected: 0 });
    expect(await countOf(production)).toBe(total);
  });

  it("brings back what was left out then, when it is not any more", async () => {
    const [from, to] = [await open(), await open()];
    const path = await exported(from, "left-out.gz", "team");
    const attempt = importUser(to.db, { ...slowly(path, total), skipForbidden: true });
    await expect(attempt).rejects.toThrow("pulled the plug");
    expect(await readdir(folder)).toContain("left-out.gz.progress");
    await withContext(to.db, { userId: "bob" }, (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    expect(await importUser(to.db, { path, userId: "bob" })).toMatchObject({ skipped: 0, rejected: 0 });
    expect(await to.db.query("select count(*) as count from perch.stored_records where space_id = 'team'")).toEqual([
      { count: 400 },
    ]);
  });

  it("is not broken off by a medium that cannot be written to", async () => {
    const t = await open();
    const path = await exported(t, "kept.gz");
    await mkdir(`${path}.progress.new`);
    const told: string[] = [];
    const done = await importUser(t.db, { ...slowly(path), onUnnoted: ({ message }) => told.push(message) });
    expect(done).toMatchObject({ applied: total, rejected: 0 });
    expect(told).toEqual([expect.stringMatching(/EISDIR/)]);
    expect(await readdir(folder)).not.toContain("kept.gz.progress");
  });
});
