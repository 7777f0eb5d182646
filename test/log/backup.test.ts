import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { LoroDoc } from "loro-crdt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { withContext } from "../../src/identity/index.js";
import { type Change, exportUser, type ImportOptions, importUser, type Manifest, push } from "../../src/log/index.js";
import { describeBothKinds, postgres, type TestDatabase } from "../support/databases.js";
import { runPerch } from "../support/processes.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "perch-backup-"));
});
afterAll(() => rm(folder, { recursive: true }));

let files = 0;
const freshPath = () => join(folder, `export-${++files}.gz`);

async function exportTo(db: Database, userId: string): Promise<{ path: string; manifest: Manifest; lines: unknown[] }> {
  const path = freshPath();
  let text = "";
  const manifest = await exportUser(db, {
    userId,
    write(line) {
      text += line;
    },
  });
  await writeFile(path, gzipSync(text));
  return {
    path,
    manifest,
    lines: text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  };
}

const pushAs = (db: Database, userId: string, clientId: string | null, ...changes: Change[]) =>
  withContext(db, { userId }, (tx) => push(tx, { appId: "todo", clientId, changes }));
const task = (op: Change["op"], id: string, rest: Partial<Change> = {}): Change => ({
  op,
  table: "tasks",
  id,
  ...rest,
});

const records = (t: TestDatabase, spaceId: string) =>
  t.db.query(
    `select app_id, table_name, record_id, data, deleted, inserted_at, deleted_at from perch.stored_records
      where space_id = $1 order by app_id, table_name, record_id`,
    [spaceId],
  );
const logged = async (t: TestDatabase) =>
  (await t.db.query<{ count: number }>("select count(*) as count from perch.sync_changes"))[0]?.count;

const declare = (t: TestDatabase) =>
  t.db.query(
    `select perch.declare_table(app_id => 'notes', table_name => 'pages', fields => '{"title": "string", "body": "text"}')`,
  );
const page = "app_id => 'notes', table_name => 'pages', record_id => 'p1'";

/** Appends an update, and merges what is pending as a worker does that finds nothing wrong with it. */
const append = (t: TestDatabase, userId: string, update: Uint8Array) =>
  withContext(t.db, { userId }, (tx) => tx.query(`select perch.push_update(${page}, update => $1)`, [update]));
const mergePending = (t: TestDatabase, spaceId: string) =>
  t.asWorker(async (tx) => {
    const key = [spaceId, "notes", "pages", "p1"];
    const pending = await tx.query<{ seq: number; payload: Uint8Array }>(
      "select * from perch.claim_inbox($1, $2, $3, $4)",
      key,
    );
    for (const { seq, payload } of pending) {
      await tx.query("select perch.finish_inbox($1, $2, $3, $4, $5, $6, null)", [...key, seq, payload]);
    }
  });
async function documentOf(t: TestDatabase, userId: string): Promise<string> {
  const [state] = await withContext(t.db, { userId }, (tx) =>
    tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[] }>(`select * from perch.document_state(${page})`),
  );
  const doc = new LoroDoc();
  doc.importBatch([state?.snapshot ?? [], state?.updates ?? []].flat().filter((part) => part instanceof Uint8Array));
  return doc.getText("body").toString();
}

/** A log with edits from two devices, deletions and a revival, out of order, at home and in a shared space. */
async function makeContent(t: TestDatabase): Promise<void> {
  await withContext(t.db, { userId: "ada" }, async (tx) => {
    await tx.query("select perch.create_space(space_id => 'team')");
    await tx.query("select perch.set_space_member(space_id => 'team', user_id => 'bob', role => 'editor')");
  });
  const early = "2026-01-01T10:00:00Z";
  const late = "2026-01-02T10:00:00Z";
  await pushAs(
    t.db,
    "ada",
    "phone",
    task("insert", "a", { data: { title: "A", done: false }, at: early, op_id: "first" }),
  );
  await pushAs(t.db, "ada", "laptop", task("update", "a", { data: { title: "Late" }, field_meta: { title: late } }));
  await pushAs(t.db, "ada", "phone", task("update", "a", { data: { title: "Early", done: true }, at: early }));
  await pushAs(
    t.db,
    "ada",
    "phone",
    task("insert", "gone", { data: { x: 1 }, at: early }),
    task("delete", "gone", { at: late }),
  );
  await pushAs(
    t.db,
    "ada",
    null,
    task("delete", "back", { at: early }),
    task("insert", "back", { data: { y: 2 }, at: late }),
  );
  await pushAs(t.db, "ada", "phone", task("insert", "shared", { space_id: "team", data: { of: "ada" }, at: early }));
  await pushAs(t.db, "bob", "pad", task("update", "shared", { space_id: "team", data: { by: "bob" }, at: late }));
}

describeBothKinds("a backup", (open) => {
  it("brings records, deletions and documents into another database, with their times and devices", async () => {
    const from = await open();
    const to = await open();
    await makeContent(from);
    await declare(from);
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "Hello");
    await append(from, "ada", doc.export({ mode: "update" }));
    const version = doc.version();
    doc.getText("body").insert(5, ", world");
    await append(from, "ada", doc.export({ mode: "update", from: version }));
    await mergePending(from, "~ada");

    const { path, manifest, lines } = await exportTo(from.db, "ada");
    expect(manifest.counts).toEqual({ document_tables: 1, records: 0, changes: 8, documents: 1, updates: 2 });
    expect(manifest.schema_versions).toEqual([{ app_id: "todo", table: "tasks", schema_version: 1 }]);
    expect(lines[0]).toMatchObject({ kind: "perch-export", format: 1, user_id: "ada" });
    expect(JSON.stringify(lines)).not.toContain('"by":"bob"');

    await withContext(to.db, { userId: "ada" }, (tx) => tx.query("select perch.create_space(space_id => 'team')"));
    await expect(importUser(to.db, { path })).rejects.toThrow(/select perch.declare_table\(app_id => 'notes'/);
    await declare(to);
    expect(await importUser(to.db, { path })).toMatchObject({ applied: 8, present: 0, updates: 2, rejected: 0 });
    expect(await records(to, "~ada")).toEqual(await records(from, "~ada"));
    await mergePending(to, "~ada");
    expect(await documentOf(to, "ada")).toBe("Hello, world");

    // Whatever comes afterwards is judged by the same times and devices as it would have been there.
    for (const t of [from, to]) {
      const tie = "2026-01-02T10:00:00Z";
      await pushAs(t.db, "ada", "kiosk", task("update", "a", { data: { title: "Lost" }, field_meta: { title: tie } }));
      await pushAs(t.db, "ada", "watch", task("update", "back", { data: { y: 3 }, field_meta: { y: tie } }));
    }
    expect(await records(to, "~ada")).toEqual(await records(from, "~ada"));
  });

  it("changes nothing when it is imported again, nor where it was made", async () => {
    const from = await open();
    const to = await open();
    await makeContent(from);
    const { path } = await exportTo(from.db, "ada");
    const before = { log: await logged(from), records: await records(from, "~ada") };
    expect(await importUser(from.db, { path })).toMatchObject({ applied: 0, present: 8, rejected: 0 });
    expect({ log: await logged(from), records: await records(from, "~ada") }).toEqual(before);

    await importUser(to.db, { path, userId: "eve", skipForbidden: true });
    const once = { log: await logged(to), records: await records(to, "~eve") };
    expect(await importUser(to.db, { path, userId: "eve", skipForbidden: true })).toMatchObject({
      applied: 0,
      present: 7,
      skipped: 1,
    });
    expect({ log: await logged(to), records: await records(to, "~eve") }).toEqual(once);
  });

  it("goes into another user's name, or all into one space", async () => {
    const t = await open();
    await makeContent(t);
    const { path } = await exportTo(t.db, "ada");
    await importUser(t.db, { path, userId: "bob" });
    expect(await records(t, "~bob")).toEqual(await records(t, "~ada"));
    const [{ user_id } = { user_id: undefined }] = await t.db.query(
      "select distinct user_id from perch.sync_changes where space_id = '~bob'",
    );
    expect(user_id).toBe("bob");

    await withContext(t.db, { userId: "eve" }, (tx) => tx.query("select perch.create_space(space_id => 'archive')"));
    await importUser(t.db, { path, userId: "eve", spaceId: "archive" });
    const archived = await records(t, "archive");
    expect(archived.map((row) => row.record_id)).toEqual(["a", "back", "gone", "shared"]);
  });

  it("refuses to begin where the user may not write, unless told to leave that out", async () => {
    const from = await open();
    const to = await open();
    await makeContent(from);
    const { path } = await exportTo(from.db, "ada");
    await expect(importUser(to.db, { path })).rejects.toThrow(/may not write 1 of the spaces .*"team"/);
    expect(await logged(to)).toBe(0);
    expect(await importUser(to.db, { path, skipForbidden: true })).toMatchObject({ applied: 7, skipped: 1 });
  });

  it("brings the records back whose changes were pruned from the log", async () => {
    const from = await open();
    const to = await open();
    await makeContent(from);
    const wanted = await records(from, "~ada");
    await from.db.query("delete from perch.sync_changes where space_id = '~ada' and seq <= 6");
    await from.db.query("update perch.space_heads set oldest_seq = 7 where space_id = '~ada'");
    const { path, manifest } = await exportTo(from.db, "ada");
    expect(manifest.counts).toMatchObject({ records: 3, changes: 2 });
    await importUser(to.db, { path, skipForbidden: true });
    expect(await records(to, "~ada")).toEqual(wanted);
  });

  // JavaScript rounds these, or finds or loses them on a plain object.
  const odd = `{"big": 9007199254740993, "small": -9007199254740993, "long": 12345678901234567.89,
    "fine": 0.1000000000000000055511151231257827, "huge": 123456789012345678901234567890, "zeros": 1.50, "__proto__": {"__proto__": 1, "n": 9007199254740995},
    "constructor": "Ferrari", "toString": 1, "hasOwnProperty": [9007199254740993], "valueOf": null}`;
  const pushText = (t: TestDatabase, changes: string, clientId = "phone") =>
    withContext(t.db, { userId: "ada" }, async (tx) => {
      const [row] = await tx.query<{ error: object | null }>(
        "select perch.push(app_id => 'todo', client_id => $2, changes => $1::jsonb) #> '{results,0,error}' as error",
        [changes, clientId],
      );
      expect(row).toEqual({ error: null });
    });
  const texts = (t: TestDatabase, spaceId: string) =>
    t.db.query(
      `select table_name, record_id, data::text, deleted, inserted_at, deleted_at,
              array(select concat(n, ' ', coalesce(field_meta ->> n, perch.stamp(written_at, written_by)))
                      from jsonb_object_keys(data) n order by n) as stamps
         from perch.stored_records where space_id = $1 order by 1, 2`,
      [spaceId],
    );
  const makeOdd = async (t: TestDatabase) => {
    await pushText(
      t,
      `[{"op": "insert", "table": "tasks", "id": "odd", "at": "2026-01-01T10:00:00Z", "data": ${odd}}]`,
    );
    const later = `"at": "2026-01-03T10:00:00Z", "field_meta": {"__proto__": "2026-01-02T10:00:00Z", "constructor": "2026-01-02T10:00:00Z"}`;
    const data = `{"__proto__": 9007199254740997, "constructor": 1e300, "toString": 2}`;
    await pushText(t, `[{"op": "update", "table": "tasks", "id": "odd", ${later}, "data": ${data}}]`, "laptop");
  };

  it.each([
    ["its changes are in the log", async () => undefined],
    [
      "the log was pruned",
      (t: TestDatabase) => t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0', keep_last => 0)")),
    ],
  ])("carries every number and every name of a field exactly, when %s", async (_, prune) => {
    const from = await open();
    const to = await open();
    await makeOdd(from);
    await prune(from);
    const wanted = await texts(from, "~ada");
    const { path } = await exportTo(from.db, "ada");

    expect(await importUser(to.db, { path })).toMatchObject({ rejected: 0 });
    expect(await texts(to, "~ada")).toEqual(wanted);
    const log = await logged(to);
    expect(await importUser(to.db, { path })).toMatchObject({ applied: 0, rejected: 0 });
    expect(await logged(to)).toBe(log);

    // The same where it was made: now, and when the log has been pruned since.
    for (const forget of [async () => undefined, prune]) {
      await forget(from);
      const before = await logged(from);
      expect(await importUser(from.db, { path })).toMatchObject({ applied: 0, rejected: 0 });
      expect(await texts(from, "~ada")).toEqual(wanted);
      expect(await logged(from)).toBe(before);
    }
  });

  it("adds what is missing to a record that is there in another state, and overwrites nothing that is newer", async () => {
    const from = await open();
    await makeOdd(from);
    await from.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0', keep_last => 0)"));
    const { path } = await exportTo(from.db, "ada");
    const at = `"at": "2026-01-05T10:00:00Z"`;
    await pushText(from, `[{"op": "update", "table": "tasks", "id": "odd", ${at}, "data": {"big": 9007199254740999}}]`);
    const newer = await texts(from, "~ada");
    await importUser(from.db, { path });
    expect(await texts(from, "~ada")).toEqual(newer);
    await from.db.query("update perch.stored_records set data = data - 'long' where record_id = 'odd'");
    expect(await importUser(from.db, { path })).toMatchObject({ rejected: 0 });
    expect((await texts(from, "~ada"))[0]).toMatchObject({ data: newer[0]?.data });
  });

  it("brings back a record that is longer than a change may be", async () => {
    const from = await open();
    const to = await open();
    for (let part = 0; part < 5; part += 1) {
      const data = { [`part${part}`]: "x".repeat(600_000), [`short${part}`]: part };
      await pushAs(from.db, "ada", "phone", task(part === 0 ? "insert" : "update", "long", { data }));
    }
    await from.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0', keep_last => 0)"));
    const { path } = await exportTo(from.db, "ada");
    expect(await importUser(to.db, { path })).toMatchObject({ rejected: 0 });
    const data = (t: TestDatabase) => t.db.query("select md5(data::text) as data from perch.stored_records");
    expect(await data(to)).toEqual(await data(from));
    expect(await importUser(to.db, { path })).toMatchObject({ applied: 0, rejected: 0 });
  });

  it("goes on where an interrupted import was, and from the beginning when the database lost what was done", async () => {
    const t = await open();
    const total = 2_500;
    for (let from = 0; from < total; from += 500) {
      const changes = Array.from({ length: 500 }, (_, n) => task("insert", `t${from + n}`, { data: { n: from + n } }));
      await pushAs(t.db, "ada", "phone", ...changes);
    }
    const { path } = await exportTo(t.db, "ada");
    const interrupted = new Error("pulled the plug");
    const slowly = { path, userId: "bob" } satisfies ImportOptions;
    const attempt = importUser(t.db, {
      ...slowly,
      onProgress({ phase, lines }) {
        if (phase !== "importing") return;
        if (lines >= 2_000) throw interrupted;
        // Longer than the pause between two notes of progress.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
      },
    });
    await expect(attempt).rejects.toBe(interrupted);
    const note = `${path}.progress`;
    const kept = await readFile(note, "utf8");
    const resumed = await importUser(t.db, slowly);
    expect(resumed.resumedAt).toBe(1_000);
    expect(resumed).toMatchObject({ applied: 500, present: 1_000, rejected: 0 });
    expect(await records(t, "~bob")).toHaveLength(total);
    expect(await readdir(folder)).not.toContain(note.slice(folder.length + 1));

    // The note is there, the content is not: another database, or one restored from before.
    const other = await open();
    await writeFile(note, kept);
    expect(await importUser(other.db, slowly)).toMatchObject({ resumedAt: 0, rejected: 0 });
    expect(await records(other, "~bob")).toHaveLength(total);
  });
});

describe("an export file", () => {
  const open = postgres();
  let t: TestDatabase;
  let good: { path: string; text: string };

  beforeAll(async () => {
    t = await open();
    await makeContent(t);
    const { path } = await exportTo(t.db, "ada");
    good = { path, text: gunzipSync(await readFile(path)).toString() };
  });

  const refused = async (bytes: Uint8Array, reason: RegExp) => {
    const path = freshPath();
    await writeFile(path, bytes);
    const before = await logged(t);
    await expect(importUser(t.db, { path, userId: "mallory" })).rejects.toThrow(reason);
    expect(await logged(t)).toBe(before);
  };

  it("is refused before anything is written when it was changed, cut off, or is something else", async () => {
    const { text } = good;
    await refused(gzipSync(text.replace('"Late"', '"Fake"')), /SHA-256/);
    await refused(gzipSync(text.replace(/\n[^\n]*"gone"[^\n]*/, "")), /SHA-256/);
    await refused(gzipSync(text.slice(0, text.indexOf('{"kind":"manifest"'))), /no manifest/);
    await refused(gzipSync(text.slice(0, -20)), /cut off/);
    await refused(gzipSync(text).subarray(0, -30), /cannot be imported/);
    await refused(gzipSync(`${text}{}\n`), /something follows the manifest/);
    await refused(gzipSync('{"kind":"change"}\n'), /line 1/);
    await refused(gzipSync("hello\n"), /line 1/);
    await refused(gzipSync(""), /no manifest/);
    await refused(Buffer.from("not gzip"), /cannot be imported/);
    await expect(importUser(t.db, { path: join(folder, "nowhere.gz") })).rejects.toThrow(/ENOENT/);
  });

  it("is refused when its format is newer, whatever else is in it", async () => {
    const newer = '{"kind":"perch-export","format":2,"streams":[]}\n{"kind":"manifest","format":2}\n';
    await refused(gzipSync(newer), /format 2.*upgrade perch/);
  });
});

describe("perch export and perch import", () => {
  const open = postgres();

  it("write a file that appears when it is whole, and restore it", async () => {
    const from = await open();
    const to = await open();
    await makeContent(from);
    const out = freshPath();
    const env = (t: TestDatabase) => ({ env: { DATABASE_URL: t.url ?? "" } });
    const exported = await runPerch(["export", "--user", "ada", "--out", out], env(from));
    expect(exported).toMatchObject({ code: 0, stdout: "" });
    expect(exported.stderr).toMatch(/exported 8 changes, 0 records, 0 documents; SHA-256 [0-9a-f]{64}/);
    expect((await readdir(folder)).filter((name) => name.endsWith(".part"))).toEqual([]);

    expect(await runPerch(["import", out], env(to))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/may not write/),
    });
    expect(await runPerch(["import", out, "--space", "archive"], env(to))).toEqual({
      code: 1,
      stdout: "",
      stderr:
        'perch: ada may not write the space "archive": make it (perch.create_space), or make the user an editor there\n',
    });
    const imported = await runPerch(["import", out, "--skip-forbidden"], env(to));
    expect(imported).toEqual({ code: 0, stdout: "restored 7 changes, 0 there already, 1 left out\n", stderr: "" });
    expect(await records(to, "~ada")).toEqual(await records(from, "~ada"));
    const again = await runPerch(["import", out, "--skip-forbidden"], env(to));
    expect(again.stdout).toBe("restored 0 changes, 7 there already, 1 left out\n");

    await appendFile(out, "x");
    const damaged = await runPerch(["import", out], env(to));
    expect(damaged).toMatchObject({ code: 1, stderr: expect.stringMatching(/cannot be imported/) });
  });

  it("say how many edits no worker has merged yet, which are not in the file", async () => {
    const t = await open();
    await declare(t);
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "Hello");
    await append(t, "ada", doc.export({ mode: "update" }));
    const exportIt = () =>
      runPerch(["export", "--user", "ada", "--out", freshPath()], { env: { DATABASE_URL: t.url ?? "" } });
    expect((await exportIt()).stderr).toMatch(/not in it: 1 edits of ada to documents/);
    await mergePending(t, "~ada");
    expect((await exportIt()).stderr).not.toMatch(/not in it/);
  });

  it("leave no half of a file behind, and say what is wrong with the command", async () => {
    const t = await open();
    const env = { env: { DATABASE_URL: t.url ?? "" } };
    const out = join(folder, "missing", "x.gz");
    expect(await runPerch(["export", "--user", "ada", "--out", out], env)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/ENOENT/),
    });
    expect(await runPerch(["export"], env)).toMatchObject({ code: 2, stderr: expect.stringMatching(/--user/) });
    expect(await runPerch(["import"], env)).toMatchObject({ code: 2, stderr: expect.stringMatching(/which file/) });
    const nobody = await runPerch(["export", "--user", "nobody", "--out", freshPath()], env);
    expect(nobody.stderr).toMatch(/exported 0 changes/);
  });
});
