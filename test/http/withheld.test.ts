import { pino } from "pino";
import { expect, it } from "vitest";
import { startNode } from "../gateway/support.js";
import { describeBothKinds } from "../support/databases.js";

describeBothKinds("A record that an upgrade cannot lift", (open) => {
  it("is told to the operator by the log, once, and by a count of how often it was asked for; readers are answered", async () => {
    const t = await open();
    await t.db.query(`
      create function public.to_2(change jsonb) returns jsonb language sql immutable
        return jsonb_set(change, '{data,n}', to_jsonb((change #>> '{data,n}')::integer))`);
    await t.db.query("grant execute on function public.to_2 to perch_owner");
    await t.db.query("select perch.register_upgrade('app', 'tasks', 1, 'public.to_2(jsonb)')");
    const lines: Record<string, unknown>[] = [];
    const log = pino({ level: "warn" }, { write: (line) => lines.push(JSON.parse(line)) });
    const { gateway } = await startNode(t, { log });
    const ask = async (path: string, body: object) => {
      const headers = { authorization: "Bearer ada" };
      const answer = await fetch(gateway.url + path, { method: "POST", headers, body: JSON.stringify(body) });
      return { status: answer.status, text: await answer.text() };
    };
    const insert = (id: string, n: string) => ({ op: "insert", table: "tasks", id, data: { n } });
    await ask("/v1/push", { app_id: "app", client_id: "c", changes: [insert("good", "1"), insert("bad", "a secret")] });
    await t.db.query("select perch.set_schema_version('app', 'tasks', 2)");

    for (const path of ["/v1/pull", "/v1/snapshot"]) {
      const { status, text } = await ask(path, { app_id: "app", schema_versions: { tasks: 2 } });
      expect(status).toBe(200);
      expect(text).toContain("upgrade_failed");
    }
    const told = lines.filter(({ reason }) => reason !== undefined);
    expect(told).toMatchObject([
      { reason: "upgrade_failed", appId: "app", count: 1, msg: expect.stringMatching(/perch doctor names them/) },
    ]);
    expect(JSON.stringify(lines)).not.toContain("a secret");
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toMatch(/^perch_withheld_total\{reason="upgrade_failed"\} 2$/m);
  });
});
