import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startNode } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

describe("Transactions over HTTP", () => {
  const open = postgres();
  let t: TestDatabase;
  let push: (body: string) => Promise<{ status: number; body: string }>;
  beforeAll(async () => {
    t = await open();
    await t.db.transaction((tx) =>
      tx.script(`
      do $$ begin create role http_author nologin; exception when duplicate_object or unique_violation then null; end $$;
      create function public.echo(args jsonb) returns jsonb language plpgsql security definer set search_path = pg_catalog, pg_temp as $f$
      begin
        if args ? 'raise' then raise exception 'raised' using errcode = args ->> 'raise'; end if;
        return args;
      end $f$;
      alter function public.echo owner to http_author;
      select perch.register_mutator('app', 'echo', 'public.echo(jsonb)')`),
    );
  });
  beforeEach(async () => {
    const node = await startNode(t);
    push = async (body) => {
      const response = await fetch(`${node.gateway.url}/v1/push`, {
        method: "POST",
        headers: { authorization: "Bearer ada" },
        body,
      });
      return { status: response.status, body: await response.text() };
    };
  });
  const records = async () => {
    const rows = await t.db.query<{ id: string }>("select record_id as id from perch.stored_records order by 1");
    return rows.map(({ id }) => id);
  };

  it("apply a push as a whole or not at all, also when part of it cannot even be read", async () => {
    const change = (id: string, data = "{}") =>
      `{"op": "insert", "table": "tasks", "id": "${id}", "op_id": "${id}", "data": ${data}}`;
    for (const fault of [change("b", '{"text": "\\u0000"}'), change("b", '{"n": 1e4000}'), '{"op": "insert"}']) {
      const answer = await push(`{"app_id": "app", "atomic": true, "changes": [${change("a")}, ${fault}]}`);
      expect(answer.status).toBe(200);
      expect(JSON.parse(answer.body).results).toMatchObject([
        {
          op_id: "a",
          status: "rejected",
          space_id: "~ada",
          error: { code: "PE409", detail: { reason: "aborted", at: 1 } },
        },
        { status: "rejected", error: { code: "PE422" } },
      ]);
      expect(await records()).toEqual([]);
    }
    const good = await push(`{"app_id": "app", "atomic": true, "changes": [${change("a")}, ${change("b")}]}`);
    expect(JSON.parse(good.body).results).toMatchObject([{ status: "applied" }, { status: "applied" }]);
    expect(await records()).toEqual(["a", "b"]);
    expect((await push('{"app_id": "app", "atomic": "yes", "changes": []}')).status).toBe(422);
  });

  it("call functions by name, with all digits of what goes in and out", async () => {
    const answer = await push(
      '{"app_id": "app", "changes": [{"op": "call", "name": "echo", "op_id": "1", "args": {"n": 12345678901234567890.10}}]}',
    );
    expect(answer.status).toBe(200);
    expect(answer.body).toContain('"result": {"n": 12345678901234567890.10}');
  });

  it("say of a call what it raised, and of one that was ended for its time that it may be tried again", async () => {
    const raise = (code: string) =>
      push(`{"app_id": "app", "changes": [{"op": "call", "name": "echo", "args": {"raise": "${code}"}}]}`);
    const refused = await raise("P0001");
    expect(refused.status).toBe(200);
    expect(JSON.parse(refused.body).results[0]).toMatchObject({ error: { code: "PE422", message: "invalid: raised" } });
    for (const code of ["57014", "53100"]) expect((await raise(code)).status).toBe(503);
  });
});
