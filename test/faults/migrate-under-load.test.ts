/** `perch migrate up` again and again while people type, push, pull and patch, and somebody reads every table all the while. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Editor } from "../../scripts/faults/editor.js";
import { type PerchProcess, perchProcess } from "../../scripts/support/perch-process.js";
import { userToken } from "../../scripts/support/user-token.js";
import { migrate } from "../../src/database/migrate.js";
import { migrationStatus } from "../../src/database/migration-status.js";
import { packageRoot } from "../../src/database/package-root.js";
import { describeSomePostgres, type TestDatabase } from "../support/databases.js";
import { underWay } from "../support/until.js";
import {
  acknowledged,
  asLogin,
  expectAllEqual,
  expectNothingLost,
  keepEditing,
  openEditors,
  pause,
  prepare,
  typed,
  until,
} from "./support.js";

/** PERCH_MIGRATIONS=20 for the long run. */
const rounds = Number(process.env.PERCH_MIGRATIONS ?? 5);
/** Longer than requests took before the first upgrade, and than what waits for nothing took beside them: the machine may have other things to do. */
const longestMs = 2_000;
const calmMs = 3_000;
const users = ["mia", "max"];

interface Span {
  readonly what: string;
  readonly began: number;
  readonly ms: number;
}

/** For how long of that time even what waits for nothing had no answer. */
function stoodStill(beats: readonly Span[], { began, ms }: Span): number {
  const meanwhile = beats.filter((beat) => beat.ms > 100 && beat.began < began + ms && beat.began + beat.ms > began);
  return meanwhile.reduce((sum, beat) => sum + beat.ms, 0);
}

describeSomePostgres("an upgrade under load", (open) => {
  let t: TestDatabase;
  let node: PerchProcess;
  let editors: Editor[] = [];
  let folder: string;

  beforeAll(async () => {
    t = await open();
    folder = await mkdtemp(join(tmpdir(), "perch-under-load-"));
    const login = await prepare(t.db, users);
    node = await perchProcess({ args: ["worker"], env: { DATABASE_URL: asLogin(t.url ?? "", login) } });
    await node.start();
  });
  afterAll(async () => {
    for (const editor of editors) editor.close();
    await node?.kill();
    await rm(folder, { recursive: true, force: true });
  });

  /** Later versions: each has a function changed; the second of three a policy, too, and the third a table and a trigger. */
  async function versions(): Promise<string[]> {
    const files = new Map<string, string>();
    const original = (path: string) => readFile(join(packageRoot, path), "utf8");
    const [policies, push, triggers] = await Promise.all(
      ["sql/identity/policies.sql", "sql/log/api/push.sql", "sql/notifications/triggers.sql"].map(original),
    );
    const roots: string[] = [];
    for (let n = 0; n < rounds; n++) {
      files.set("sql/log/api/push.sql", `-- Version ${n}.\n${push}`);
      if (n % 3 === 1)
        files.set(
          "sql/identity/policies.sql",
          `${policies}`.replace(
            /^( *\('(?:documents|stored_records|sync_changes)', +)readable,/gm,
            `$1readable || ' and ${n} = ${n}',`,
          ),
        );
      if (n % 3 === 2) {
        files.set(
          `migrations/90${String(n).padStart(2, "0")}_more.sql`,
          `-- Up Migration\nalter table perch.documents add column more_${n} integer;\nalter table perch.sync_changes add column more_${n} integer;\n-- Down Migration\nselect 1;\n`,
        );
        files.set(
          "sql/notifications/triggers.sql",
          `${triggers}`.replace(
            "CREATE TRIGGER notify AFTER INSERT ON perch.document_inbox",
            `CREATE TRIGGER notify_${n} AFTER INSERT ON perch.document_inbox`,
          ),
        );
      }
      const root = join(folder, `version-${n}`);
      await cp(join(packageRoot, "migrations"), join(root, "migrations"), { recursive: true });
      await cp(join(packageRoot, "sql"), join(root, "sql"), { recursive: true });
      for (const [path, text] of files) await writeFile(join(root, path), text);
      roots.push(root);
    }
    return roots;
  }

  it("holds no request up for longer than two seconds, fails none, and loses no edit", {
    timeout: 600_000,
  }, async () => {
    const roots = await versions();
    let over = false;
    const took: Span[] = [];
    const beats: Span[] = [];
    const failed: string[] = [];
    let done = 0;
    let longest = 0;
    let calm: number | undefined;

    async function request(method: string, path: string, body: object): Promise<void> {
      const began = performance.now();
      const user = users[done % users.length] ?? "mia";
      const answer = await fetch(`${node.httpUrl}${path}`, {
        method,
        headers: { authorization: `Bearer ${userToken(user)}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const text = await answer.text();
      const ms = performance.now() - began;
      done++;
      longest = Math.max(longest, ms);
      if (!answer.ok || text.includes('"rejected"'))
        failed.push(`${method} ${path} ${answer.status}: ${text.slice(0, 200)}`);
      if (calm !== undefined) took.push({ what: `${method} ${path}`, began, ms });
    }
    const control = await t.connect();
    /** Asks the node and the server for what waits for no lock: how long they stood still, or this process did. */
    async function beat(): Promise<void> {
      const began = performance.now();
      await (await fetch(`${node.httpUrl}/healthz`)).text();
      await control.query("select");
      beats.push({ what: "beat", began, ms: performance.now() - began });
    }
    const again = async (work: (n: number) => Promise<void>) => {
      for (let n = 0; !over; n++) {
        await work(n);
        await pause(20);
      }
    };
    const push = (n: number, space: string) =>
      request("POST", "/v1/push", {
        app_id: "faults",
        client_id: "c",
        changes: [{ op: "insert", table: "tasks", id: `t${n}`, space_id: space, data: { n } }],
      });

    /** Reads every table in one transaction, and leaves it open for a while, as an analyst does, or a dump. */
    async function reader(): Promise<void> {
      const db = await t.connect();
      const tables = await db.query<{ name: string }>(
        "select c.oid::regclass::text as name from pg_class c where c.relnamespace = 'perch'::regnamespace and c.relkind = 'r'",
      );
      while (!over) {
        await db.transaction(async (tx) => {
          for (const { name } of tables) await tx.query(`select from ${name} limit 1`);
          await pause(700);
        });
        await pause(300);
      }
    }

    editors = await openEditors(node.url, users);
    const stopEditing = keepEditing(editors, 50);
    const load = underWay(
      Promise.all([
        again((n) => push(n, "team")),
        again((n) => push(n, "team")),
        again(() => request("POST", "/v1/pull", { app_id: "faults", page_size: 10 })),
        again((n) => request("PATCH", `/v1/documents/team/faults/boards/p${n % 5}`, { patch: { title: `${n}` } })),
        again(beat),
        reader(),
      ]),
    );
    await pause(calmMs);
    const calmest = longest;
    calm = calmest;
    longest = 0;
    const before = await deadlocks();
    const waits: string[] = [];
    for (const root of roots) {
      const applied = await migrate(t.db, { root, onWait: (message) => waits.push(message) });
      expect(applied.changedFiles).not.toEqual([]);
      const progress = acknowledged(editors);
      await until(() => acknowledged(editors) > progress, "edits are acknowledged");
    }
    over = true;
    await Promise.all([load, stopEditing()]);

    expect(await migrationStatus(t.db, { root: roots.at(-1) ?? "" })).toMatchObject({ pending: [], changedFiles: [] });
    await until(() => acknowledged(editors) === typed(editors), "everything is acknowledged");
    await expectNothingLost(t.db, editors);
    await expectAllEqual(t.db, editors);
    expect(failed).toEqual([]);
    const allowed = calmest + longestMs;
    const slow = took.filter((request) => request.ms > allowed + stoodStill(beats, request));
    expect(slow).toEqual([]);
    expect(await deadlocks()).toBe(before);
    expect(done).toBeGreaterThan(rounds * 10);
    console.info(
      `${rounds} upgrades, ${waits.length} attempts given up; ${done} requests, the longest ${Math.round(longest)} ms, before ${Math.round(calmest)} ms`,
    );
  });

  async function deadlocks(): Promise<number> {
    // Sessions tell the count of what they did within a second.
    await pause(1_100);
    const [row] = await t.db.query<{ deadlocks: number }>(
      "select deadlocks from pg_stat_database where datname = current_database()",
    );
    return row?.deadlocks ?? 0;
  }
});
