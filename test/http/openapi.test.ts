import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { consoleQuery } from "../../src/http/console/views.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, declareNotes, makeSpace, type Node, startNode } from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { openEvents } from "./support.js";

/** However slow the machine is. */
const patient = { PERCH_MERGE_PATIENCE_MS: "60000" };

// biome-ignore lint/suspicious/noExplicitAny: a document that is looked into
type Any = any;

type Ask = (method: string, template: string, options?: Any) => Promise<{ status: number; body: Any }>;

async function askAsService(ask: Ask, db: TestDatabase["db"]): Promise<void> {
  await db.query("select perch.register_reader(reader => 'search', app_ids => '{app}')");
  const user = "perch:reader:search";
  for (const path of ["/v1/log", "/v1/log/snapshot"]) {
    await ask("POST", path, { body: {}, user });
    await ask("POST", path, { body: {} });
    await ask("POST", path, { body: {}, user: "" });
    await ask("POST", path, { body: { page_size: 0 }, user, query: "?" });
    await ask("POST", path, { body: { tables: ["x".repeat(3_000)] }, user });
  }
  const { body } = await ask("POST", "/v1/log/snapshot", { body: { page_size: 10 }, user });
  await ask("POST", "/v1/log", { body: { cursor: body.cursor }, user });
}

async function askForSpaces(ask: Ask): Promise<void> {
  const one = "/v1/spaces/{space}";
  const parts = { space: "club", user: "bob", invitation: "none" };
  await ask("POST", "/v1/spaces", { body: { space_id: "club" } });
  await ask("POST", "/v1/spaces", { body: { space_id: "team" }, user: "otto" });
  await ask("POST", "/v1/spaces", { body: { space_id: "x".repeat(300) } });
  await ask("POST", "/v1/spaces", { body: {} as object, query: "?" });
  await ask("POST", "/v1/spaces", { body: { space_id: "x" }, user: "" });
  for (const query of ["", "?page_size=0"]) {
    await ask("GET", "/v1/spaces", { query });
    await ask("GET", one, { parts, query });
  }
  await ask("GET", "/v1/spaces", { user: "" });
  for (const user of ["otto", ""]) await ask("GET", one, { parts, user });
  const member = `${one}/members/{user}`;
  await ask("PUT", member, { parts, body: { role: "viewer" } });
  await ask("PUT", member, { parts: { ...parts, user: "ada" }, body: { role: "viewer" } });
  await ask("PUT", member, { parts: { ...parts, user: "x".repeat(300) }, body: { role: "viewer" } });
  await ask("PUT", member, { parts, body: { role: "king" }, query: "?" });
  for (const user of ["otto", ""]) await ask("PUT", member, { parts, body: { role: "viewer" }, user });
  await ask("DELETE", member, { parts });
  await ask("DELETE", member, { parts: { ...parts, user: "ada" } });
  await ask("DELETE", member, { parts: { ...parts, space: "\u0001" } });
  for (const user of ["otto", ""]) await ask("DELETE", member, { parts, user });
  const invitations = `${one}/invitations`;
  const { body } = await ask("POST", invitations, { parts, body: {} });
  await ask("POST", invitations, { parts, body: { max_uses: 0 }, query: "?" });
  for (const user of ["otto", ""]) await ask("POST", invitations, { parts, body: {}, user });
  await ask("POST", "/v1/invitations", { body: { invitation: body.invitation }, user: "bob" });
  await ask("POST", "/v1/invitations", { body: { invitation: body.invitation }, user: "otto" });
  await ask("POST", "/v1/invitations", { body: { invitation: "x" } });
  await ask("POST", "/v1/invitations", { body: { invitation: "x" }, user: "" });
  for (const template of [invitations, `${invitations}/{invitation}`]) {
    await ask("DELETE", template, { parts });
    await ask("DELETE", template, { parts: { ...parts, space: "\u0001" } });
    for (const user of ["otto", ""]) await ask("DELETE", template, { parts, user });
  }
}

async function askInConsole(ask: Ask): Promise<void> {
  const one = "/v1/console/{name}";
  await ask("GET", "/v1/console");
  await ask("GET", one, { parts: { name: "spaces" } });
  await ask("GET", one, { parts: { name: "nothing" } });
  await ask("GET", one, { parts: { name: "log" } });
  await ask("GET", one, { parts: { name: "spaces" }, user: "" });
  const body = { space_id: "team", app_id: "app", table_name: "notes", record_id: "n", seq: 77 };
  for (const user of ["ada", ""]) await ask("POST", one, { parts: { name: "retry" }, body, user });
  await ask("POST", one, { parts: { name: "nothing" }, body });
  await ask("POST", one, { parts: { name: "retry" }, body: {}, query: "?" });
  await ask("POST", one, { parts: { name: "retry" }, body: { ...body, record_id: "x".repeat(3_000) } });
}

describe("the OpenAPI document", () => {
  const open = pglite();
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declareNotes(t);
    await makeSpace(t, "team", "ada", { vera: "viewer" });
  });

  const start = async (env: Record<string, string> = {}) => {
    const node = await startNode(t, { env: { ...patient, ...env } });
    const worker = await startWorker({ db: t.db, live: node.live });
    cleanup(() => worker.close());
    const document: Any = await (await fetch(`${node.gateway.url}/openapi.json`)).json();
    return { node, document, ask: asker(node, document) };
  };

  const resolved = (document: Any, value: Any): Any =>
    value?.$ref === undefined
      ? value
      : resolved(
          document,
          value.$ref
            .slice(2)
            .split("/")
            .reduce((at: Any, key: string) => at[key], document),
        );

  /** Sends a request, and holds the answer against what is written about it. */
  const asker = (node: Node, document: Any) => {
    const answered = new Set<string>();
    const ask = async (
      method: string,
      template: string,
      { parts = {} as Record<string, string>, query = "", body = undefined as unknown, user = "ada" } = {},
    ): Promise<{ status: number; body: Any }> => {
      const operation = document.paths[template]?.[method.toLowerCase()];
      expect(operation, `${method} ${template}`).toBeDefined();
      if (body !== undefined && typeof body !== "string" && query === "") {
        const schema = operation.requestBody.content["application/json"].schema;
        expect(z.fromJSONSchema(schema).safeParse(body).error).toBeUndefined();
      }
      const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(parts[name] ?? "?"));
      const response = await fetch(node.gateway.url + path + query, {
        method,
        headers: user === "" ? {} : { authorization: `Bearer ${user}` },
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      });
      const { status } = response;
      const written = resolved(document, operation.responses[status]);
      expect(written, `${status} of ${method} ${template}`).toBeDefined();
      answered.add(`${method} ${template} ${status}`);
      const type = String(response.headers.get("content-type")).split(";")[0] ?? "";
      const schema = resolved(document, written.content[type]?.schema);
      expect(schema, `${type} of ${method} ${template}`).toBeDefined();
      const text = await response.text();
      const value = type === "application/json" ? JSON.parse(text) : text;
      expect(z.fromJSONSchema(schema).safeParse(value).error, text).toBeUndefined();
      // Whatever fails says what to do; shapes speak another protocol.
      if (status >= 400 && !template.startsWith("/v1/shape")) expect(value.error.hint, text).toMatch(/\w{2}.*\.$/);
      return { status, body: value };
    };
    return Object.assign(ask, { answered });
  };

  it("has every path and method that the server has, and no other", async () => {
    const { node, document } = await start();
    expect(document).toMatchObject({ openapi: "3.1.1", info: { title: "perch", version: expect.any(String) } });
    const methods = ["get", "post", "patch", "put", "delete"];
    for (const [template, item] of Object.entries<Any>(document.paths)) {
      const path = template.replaceAll(/\{\w+\}/g, "x");
      const allowed = methods.filter((method) => method in item);
      for (const method of methods) {
        const { status, headers } = await fetch(node.gateway.url + path, { method: method.toUpperCase() });
        const refused = { status: 405, allow: allowed.map((each) => each.toUpperCase()).join(", ") };
        const found = { status, allow: headers.get("allow") };
        if (allowed.includes(method)) expect(found.allow).toBeNull();
        else expect(found).toEqual(refused);
      }
    }
    for (const other of ["/", "/v1", "/v1/push/", "/v2/push", "/v1/documents", "/v1/documents/~/a/b/c/past"]) {
      expect((await fetch(node.gateway.url + other)).status).toBe(404);
    }
    const ids = Object.values<Any>(document.paths).flatMap((item) =>
      Object.values<Any>(item).map((o) => o.operationId),
    );
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("has every parameter that the server takes, and no other", async () => {
    const { node, document } = await start();
    const samples: Record<string, string> = {
      app_id: "app",
      tables: "notes",
      exclude_client_id: "phone",
      page_size: "10",
      schema_versions: '{"notes":1}',
      fields: '{"notes":["title"]}',
      cursor: "{}",
      seq: "1",
      before: "5",
      max_count: "10",
      after: "a",
      space_id: "team",
      table_name: "notes",
      record_id: "n",
      user_id: "ada",
      client_id: "phone",
      tenant_id: "acme",
      thread_id: "t",
      namespace: "a",
      checkpoint_id: "00000000-0000-4000-8000-000000000001",
      search: "a",
      after_namespace: "a",
      after_seq: "1",
      before_seq: "9",
    };
    let tried = 0;
    for (const [template, item] of Object.entries<Any>(document.paths)) {
      for (const [method, { parameters, security }] of Object.entries<Any>(item)) {
        const places = (place: string) => parameters.filter((each: Any) => each.in === place);
        const inBraces = [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
        expect(places("path").map(({ name }: Any) => name)).toEqual(inBraces);
        // Of a protocol that passes over what it does not know; its own tests try each.
        if (places("query").length === 0 || template === "/v1/shape") continue;
        const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => (name === "table" ? "notes" : "app"));
        const query = (left: string[]) =>
          places("query")
            .filter(({ name }: Any) => !left.includes(name))
            .map(({ name }: Any) => `${name}=${encodeURIComponent(samples[name] ?? "")}`)
            .join("&");
        const status = async (text: string) => {
          const stop = new AbortController();
          const { status } = await fetch(`${node.gateway.url}${path}?${text}`, {
            method: method.toUpperCase(),
            headers: { authorization: "Bearer ada" },
            signal: stop.signal,
          });
          stop.abort();
          return status;
        };
        expect(security).toEqual([{ bearer: [] }, { query: [] }]);
        expect(await status(query([]))).not.toBe(422);
        expect(await status(`${query([])}&colour=red`)).toBe(422);
        for (const { name, required } of places("query")) {
          tried += 1;
          expect(samples).toHaveProperty(name);
          expect((await status(query([name]))) === 422, `${name} of ${template}`).toBe(required);
        }
      }
    }
    expect(tried).toBe(14 + Object.keys(consoleQuery).length);
  });

  it("describes every answer of the server", async () => {
    const { ask, node, document } = await start({ PERCH_MAX_BODY_BYTES: "2000" });
    const note = "/v1/documents/{space}/{app}/{table}/{record}";
    const parts = { space: "team", app: "app", table: "notes", record: "n" };
    const change = { op: "insert", table: "tasks", id: "t1", data: { n: 1 }, space_id: "team", op_id: "o" };
    const pushed = await ask("POST", "/v1/push", { body: { app_id: "app", changes: [change], client_id: "c" } });
    expect(pushed.body.results).toMatchObject([{ status: "applied" }]);
    const mixed = [change, { op: "delete", table: "t", id: "x", space_id: "elsewhere" }];
    await ask("POST", "/v1/push", { body: { app_id: "app", changes: mixed } });
    await ask("POST", "/v1/push", { body: { app_id: "app", changes: [], client_id: "x".repeat(3_000) } });
    await ask("POST", "/v1/push", { body: "{" });
    await ask("POST", "/v1/push", { body: { app_id: "app", changes: [] }, user: "" });

    await ask("PATCH", note, { parts, body: { patch: { title: "One" }, client_id: "phone", op_id: "p1" } });
    await ask("PATCH", note, { parts, body: { patch: { title: "Two" }, op_id: "p1" } });
    await ask("PATCH", note, { parts, body: { patch: { colour: "red" } } });
    await ask("PATCH", note, { parts, body: { patch: {} }, user: "vera" });
    await ask("PATCH", note, { parts: { ...parts, table: "none" }, body: { patch: {} } });
    await ask("PATCH", note, { parts, body: { patch: { body: "x".repeat(3_000) } } });
    await ask("PATCH", note, { parts, body: { patch: {} }, user: "" });
    expect(await ask("GET", note, { parts })).toMatchObject({ status: 200, body: { data: { title: "One" } } });
    await ask("GET", note, { parts, query: "?seq=2" });
    for (const query of ["?seq=x", "?seq=77"]) await ask("GET", note, { parts, query });
    for (const user of ["otto", ""]) await ask("GET", note, { parts, user });
    expect((await ask("GET", `${note}/history`, { parts })).body.versions).toHaveLength(1);
    await ask("GET", `${note}/history`, { parts, query: "?before=x" });
    for (const user of ["otto", ""]) await ask("GET", `${note}/history`, { parts, user });
    await ask("GET", `${note}/history`, { parts: { ...parts, table: "none" } });

    const pulled = await ask("POST", "/v1/pull", { body: { app_id: "app", tables: null, page_size: 1 } });
    const ahead = { ...pulled.body.cursor, spaces: { team: [9_999, "12345678"] } };
    expect(await ask("POST", "/v1/pull", { body: { app_id: "app", cursor: ahead } })).toMatchObject({ status: 410 });
    await ask("POST", "/v1/pull", { body: { app_id: 7 } as object, query: "?" });
    await ask("POST", "/v1/pull", { body: { app_id: "app" }, user: "" });
    await ask("POST", "/v1/snapshot", { body: { app_id: "app", space_id: "team", page_size: 1 } });
    await ask("POST", "/v1/snapshot", { body: { app_id: "app", space_id: "elsewhere" } });
    await ask("POST", "/v1/snapshot", { body: { app_id: "app" }, user: "" });
    await askAsService(ask, t.db);
    await askForSpaces(ask);
    await askInConsole(ask);
    for (const path of ["/healthz", "/readyz", "/metrics", "/openapi.json"]) await ask("GET", path);

    await t.db.query("create table shaped (id int primary key, team text)");
    await syncTable(t.db, "shaped", "space_column => 'team'");
    for (const query of ["?table=shaped&offset=-1", "?table=none&offset=-1", "?table=shaped&offset=0_0&handle=none"]) {
      await ask("GET", "/v1/shape", { query });
      await ask("POST", "/v1/shape", { query, body: { limit: 1, order_by: "id" } });
    }
    for (const query of ["?table=shaped", "?table=", "?table=unknown"]) await ask("DELETE", "/v1/shape", { query });
    await t.db.query("create table shaped_by_itself (id int primary key)");
    await ask("GET", "/v1/shape", { query: "?table=shaped_by_itself&offset=-1" });
    await ask("DELETE", "/v1/shape", { query: "?table=shaped_by_itself" });
    for (const method of ["GET", "POST", "DELETE"]) {
      await ask(method, "/v1/shape", { query: `?token=${"x".repeat(300)}`, user: "" });
    }
    await ask("GET", "/v1/health");
    for (const query of ["?app_id=app&page_size=0", "?"]) await ask("GET", "/v1/changes", { query });
    await ask("GET", "/v1/changes", { query: "?app_id=app", user: "" });
    const { pull } = { pull: document.paths["/v1/pull"].post.responses };
    const stream = await openEvents(node, "app_id=app");
    const { data } = await stream.next();
    expect(z.fromJSONSchema(pull[200].content["application/json"].schema).safeParse(data).error).toBeUndefined();
    const lost = await openEvents(node, `app_id=app&cursor=${encodeURIComponent(JSON.stringify(ahead))}`);
    const problem = z.fromJSONSchema(document.components.schemas.Problem);
    expect(problem.safeParse((await lost.next()).data).error).toBeUndefined();

    // What cannot be brought about in a moment: a full node, a user for whom too much is held, a database that is away, positions that were folded.
    const written = Object.entries<Any>(document.paths).flatMap(([path, item]) =>
      Object.entries<Any>(item).flatMap(([method, { responses }]) =>
        Object.keys(responses).map((status) => `${method.toUpperCase()} ${path} ${status}`),
      ),
    );
    const missing = written.filter((each) => !ask.answered.has(each) && !/ (403|429|503|default)$/.test(each));
    expect(missing.sort()).toEqual([
      "DELETE /v1/shape 405",
      "GET /v1/changes 200",
      "GET /v1/changes 413",
      "GET /v1/console 404",
      "GET /v1/console/{name} 410",
      `GET ${note} 410`,
      `PATCH ${note} 202`,
      `PATCH ${note} 410`,
      "POST /v1/log/snapshot 410",
      "POST /v1/pull 413",
      "POST /v1/snapshot 410",
      "POST /v1/snapshot 413",
      "POST /v1/snapshot 422",
      "POST /v1/spaces/{space}/invitations 413",
    ]);
  });
});
