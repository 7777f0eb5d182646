import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { userToken } from "../../scripts/support/user-token.js";
import { postgres } from "../support/databases.js";
import { runPerch } from "../support/processes.js";

/** Numbers of 131,072 digits, stored in a dozen bytes each. */
const numbers = 4_600;
const text = numbers * 131_080;

interface Answer {
  cursor: object;
  changes: unknown[];
  has_more: boolean;
  records?: unknown[];
  next?: string | null;
}

describe("a record of 600 MB", { timeout: 240_000 }, () => {
  const open = postgres();

  it("stops no reader of its space, and no process", async () => {
    const t = await open();
    const login = new URL(t.url ?? "");
    const content = `(select jsonb_object_agg('f' || n, 1e131071::numeric) from generate_series(1, ${numbers}) n)`;
    await t.db.query(`
      with changed as (
        insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, data, at, user_id, size)
        values ('~ada', 1, 'todo', 'tasks', 'before', 'insert', '{"n": 1}', now(), 'ada', null),
               ('~ada', 2, 'todo', 'tasks', 'bomb', 'insert', ${content}, now(), 'ada', ${text}),
               ('~ada', 3, 'todo', 'tasks', 'z', 'insert', '{"n": 3}', now(), 'ada', null)
        returning *)
      insert into perch.stored_records (space_id, app_id, table_name, record_id, data, written_at, latest_at, inserted_at, seq, user_id, size)
      select space_id, app_id, table_name, record_id, data, at, at, at, seq, user_id, size from changed`);
    await t.db.query("insert into perch.space_heads (space_id, seq) values ('~ada', 3)");

    const perch = await perchProcess({ args: ["worker"], env: { DATABASE_URL: login.href } });
    onTestFinished(() => perch.kill());
    await perch.start();
    const headers = { authorization: `Bearer ${await userToken("ada")}` };
    const post = async (path: string, body: object) => {
      const answer = await fetch(`${perch.httpUrl}${path}`, { method: "POST", headers, body: JSON.stringify(body) });
      expect(answer.status).toBe(200);
      return (await answer.json()) as Answer;
    };
    const marked = { data: null, withheld: { reason: "too_large", bytes: text } };
    for (const page_size of [1_000, 1]) {
      const seen: unknown[] = [];
      for (let page: Answer = { cursor: {}, has_more: true, changes: [] }; page.has_more; ) {
        page = await post("/v1/pull", { app_id: "todo", cursor: page.cursor, page_size });
        seen.push(...page.changes);
      }
      expect(seen).toMatchObject([
        { id: "before", data: { n: 1 } },
        { id: "bomb", ...marked },
        { id: "z", data: { n: 3 } },
      ]);
    }
    const { records, next } = await post("/v1/snapshot", { app_id: "todo" });
    expect(records).toMatchObject([{ id: "before" }, { id: "bomb", ...marked }, { id: "z" }]);
    expect(next).toBeNull();
    const stream = await fetch(`${perch.httpUrl}/v1/changes?app_id=todo`, { headers });
    let events = "";
    for await (const chunk of stream.body ?? []) {
      events += Buffer.from(chunk).toString();
      if (events.includes('"id":"z"')) break;
    }
    expect(events).toContain('"withheld":{"reason" : "too_large"');

    const metrics = await (await fetch(`${perch.httpUrl}/metrics`)).text();
    expect(metrics).toMatch(/^perch_withheld_total\{reason="too_large"\} [4-9]$/m);
    expect(perch.output).toContain("longer than an answer may be");
    expect(perch.ended).toBe(false);

    const folder = await mkdtemp(join(tmpdir(), "perch-large-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const out = join(folder, "ada.gz");
    const exported = await runPerch(["export", "--user", "ada", "--out", out], { env: { DATABASE_URL: login.href } });
    expect(exported.stderr).toContain(
      "not in it: 1 changes and records that are too long, such as ~ada todo tasks bomb",
    );
    expect(exported).toMatchObject({ code: 1, stdout: "" });
    expect((await runPerch(["import", out], { env: { DATABASE_URL: login.href } })).stdout).toContain(
      "restored 0 changes",
    );
  });
});
