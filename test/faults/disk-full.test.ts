/**
 * The database's disk is full. For real, on a file system of its own, where one may be mounted; and in any case by a trigger that
 * raises what Postgres then raises.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { migrate } from "../../src/database/migrate.js";
import type { Database } from "../../src/database/types.js";
import { startPostgresServer } from "../support/postgres-server.js";
import {
  acknowledged,
  asLogin,
  expectAllEqual,
  expectNothingLost,
  keepEditing,
  openEditors,
  openQuietly,
  prepare,
  readiness,
  storedDocument,
  typed,
  until,
} from "./support.js";

interface Disk {
  /** The folder for the server; undefined for any. */
  readonly parent?: string;
  fill(db: Database): Promise<void>;
  /** In: starts the server again, should it have given up. */
  free(db: Database, restart: () => Promise<void>): Promise<void>;
  close(): void;
}

/** A file system of 160 MB in memory; undefined where none may be mounted. */
function mountedDisk(): Disk | undefined {
  const parent = mkdtempSync(join(tmpdir(), "perch-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=160m", "tmpfs", parent], { stdio: "pipe" });
  } catch {
    rmSync(parent, { recursive: true });
    return undefined;
  }
  // The server runs as another user, and removes its folder itself.
  chmodSync(parent, 0o777);
  const ballast = join(parent, "ballast");
  return {
    parent,
    async fill() {
      const file = openSync(ballast, "w");
      try {
        // In pieces that become smaller, down to the last byte.
        for (let bytes = 2 ** 20; bytes >= 1; ) {
          try {
            if (writeSync(file, Buffer.alloc(bytes)) < bytes) bytes >>= 1;
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
            bytes >>= 1;
          }
        }
      } finally {
        closeSync(file);
      }
    },
    async free(db, restart) {
      rmSync(ballast);
      // When it is the log that finds no room, Postgres gives up, and whoever keeps it running starts it again.
      await db.query("select 1").catch(restart);
    },
    close() {
      execFileSync("umount", ["-l", parent]);
      rmSync(parent, { recursive: true });
    },
  };
}

const pretendedDisk: Disk = {
  async fill(db) {
    await db.query(`
      create function public.disk_full() returns trigger language plpgsql as $$
      begin
        raise exception 'could not extend file "base/1/1": No space left on device' using errcode = 'disk_full';
      end $$`);
    await db.query(
      "create trigger disk_full before insert on perch.document_updates for each statement execute function public.disk_full()",
    );
  },
  async free(db) {
    await db.query("drop trigger disk_full on perch.document_updates");
  },
  close: () => undefined,
};

const mounted = mountedDisk();
if (mounted === undefined) console.warn("no file system may be mounted here: a full disk is only pretended");
const disks: [string, Disk][] = [["pretended", pretendedDisk]];
if (mounted !== undefined) disks.push(["real", mounted]);

const users = ["dora", "dana"];

describe.each(disks)("a full disk, %s", (_, disk) => {
  it("stops writing and not reading, is told by /readyz, and once there is room all that was typed is stored", async () => {
    const ends: (() => unknown)[] = [() => disk.close()];
    try {
      const server = await startPostgresServer({
        settings: { fsync: "off", max_wal_size: "32MB", min_wal_size: "32MB", max_connections: 50 },
        ...(disk.parent === undefined ? {} : { parent: disk.parent }),
      });
      ends.push(() => server.close());
      const db = openQuietly(server.url());
      ends.push(() => db.close());
      await migrate(db);
      const login = await prepare(db, [...users, "reader"]);
      const node = await perchProcess({ args: ["worker"], env: { DATABASE_URL: asLogin(server.url(), login) } });
      ends.push(() => node.kill());
      await node.start();
      const editors = await openEditors(node.url, users);
      for (const editor of editors) ends.push(() => editor.close());
      const stop = keepEditing(editors);
      ends.push(stop);
      await until(() => acknowledged(editors) > 10, "edits are acknowledged");

      await disk.fill(db);
      await until(async () => {
        const { status, reason } = await readiness(node.httpUrl);
        return (
          status === 503 && /its disk is full|the database does not answer|the connection that listens/.test(reason)
        );
      }, "the node says that its database takes no writes");
      await expectNothingLost(db, editors).catch(async (error: unknown) => {
        // A server that has given up tells nothing.
        if (await db.query("select 1").catch(() => undefined)) throw error;
      });

      await disk.free(db, async () => {
        await server.stop();
        await server.start();
      });
      const before = acknowledged(editors);
      await until(() => acknowledged(editors) > before, "edits are acknowledged again");
      await stop();
      await until(() => acknowledged(editors) === typed(editors), "everything is acknowledged");
      await until(async () => (await readiness(node.httpUrl)).status === 200, "the node is ready");
      await expectNothingLost(db, editors);
      await expectAllEqual(db, editors);
      expect((await storedDocument(db)).opCount()).toBeGreaterThan(0);
      expect(node.ended).toBe(false);
    } finally {
      for (const end of ends.reverse()) await end();
    }
  });
});
