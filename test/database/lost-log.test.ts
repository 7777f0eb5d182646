import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { openPglite } from "../../src/database/pglite.js";

const { writeSync, fdatasyncSync } = fs;
const folder = fs.mkdtempSync(join(tmpdir(), "perch-lost-log-"));

function put(functions: Partial<Pick<typeof fs, "writeSync" | "fdatasyncSync">>) {
  Object.assign(fs, functions);
  syncBuiltinESMExports();
}

afterEach(() => put({ writeSync, fdatasyncSync }));

/** What the file system says where files of the log are written. */
function failing<Rest extends unknown[], R>(original: (fd: number, ...rest: Rest) => R, code: string, errno: number) {
  return (fd: number, ...rest: Rest): R => {
    if (!fs.readlinkSync(`/proc/self/fd/${fd}`).includes("pg_wal")) return original(fd, ...rest);
    throw Object.assign(new Error(`${code}: as the disk says`), { code, errno });
  };
}
type Write = (fd: number, ...rest: unknown[]) => number;

it.each([
  ["is full", "53100", () => put({ writeSync: failing(writeSync as Write, "ENOSPC", -28) })],
  ["fails", "58030", () => put({ fdatasyncSync: failing(fdatasyncSync, "EIO", -5) })],
])(
  "an embedded database whose disk %s says so, and keeps nobody waiting; opened again it has all that was acknowledged",
  async (_, code, fail) => {
    const told: unknown[] = [];
    const dataDir = join(folder, code);
    const db = await openPglite({ dataDir, onError: (error) => told.push(error) });
    await db.query("create table things (n int)");
    await db.query("insert into things values (1)");
    await db.transaction((tx) => tx.query("insert into things values (2)"));
    fail();
    const refused = (work: Promise<unknown>) =>
      work.then(
        () => "done",
        (error: { code?: string }) => error.code,
      );
    const inserted = (n: number) => db.transaction((tx) => tx.query("insert into things values ($1)", [n]));
    expect(await refused(inserted(3))).toMatch(/^5[38]/);
    expect(await refused(db.query("select * from things"))).toBe(code);
    // What made it fail is over, but the database does not go on from where it was.
    put({ writeSync, fdatasyncSync });
    for (const work of [inserted(4), db.query("insert into things values (5)"), db.aside.query("select 1")]) {
      expect(await refused(work)).toBe(code);
    }
    expect(told).toEqual([
      expect.objectContaining({ code, message: expect.stringContaining("start this process again") }),
    ]);
    await db.close();
    const again = await openPglite({ dataDir });
    const rows = await again.query<{ n: number }>("select n from things order by n");
    expect(rows.map(({ n }) => n).slice(0, 2)).toEqual([1, 2]);
    expect(rows.map(({ n }) => n)).not.toContain(4);
    await again.close();
  },
);
