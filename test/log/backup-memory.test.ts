import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { postgres } from "../support/databases.js";
import { runPerch } from "../support/processes.js";

const open = postgres();

it("perch export and perch import take far more through than their memory holds", async () => {
  const [from, to] = [await open(), await open()];
  // 6,000 changes of 10 kB each, in text that gzip cannot make small.
  await from.db.query("insert into perch.space_heads (space_id, seq) values ('~ada', 6000)");
  await from.db.query(
    `insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, client_id, created_at)
     select '~ada', n, 'todo', 'tasks', 'task-' || n, 'insert',
            jsonb_build_object('text', (select string_agg(md5(n || '-' || i), '') from generate_series(1, 310) i)),
            timestamptz '2026-01-01' + n * interval '1 second', 'ada', 'phone', timestamptz '2026-01-01' + n * interval '1 second'
       from generate_series(1, 6000) n`,
  );
  const folder = await mkdtemp(join(tmpdir(), "perch-backup-memory-"));
  try {
    const file = join(folder, "ada.gz");
    const tight = (url: string | undefined) => ({
      env: { DATABASE_URL: url ?? "", NODE_OPTIONS: "--max-old-space-size=52" },
    });
    const exported = await runPerch(["export", "--user", "ada", "--out", file], tight(from.url));
    expect(exported.stderr).toMatch(/exported 6000 changes/);
    expect((await stat(file)).size).toBeGreaterThan(29_000_000);
    const imported = await runPerch(["import", file], tight(to.url));
    expect(imported.stdout).toBe("restored 6000 changes, 0 there already\n");
  } finally {
    await rm(folder, { recursive: true });
  }
}, 300_000);
