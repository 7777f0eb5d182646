import { beforeAll, expect, it } from "vitest";
import { thrownByDriver } from "../../src/database/errors.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { declareNotes, makeSpace, startNode } from "./support.js";

describeBothKinds("HTTP", (open) => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await declareNotes(database);
    await makeSpace(database, "team", "ada", { eve: "viewer" });
  });

  interface Reply {
    status: number;
    // biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
    body: any;
    headers: Headers;
  }

  async function start(env: Record<string, string> = {}) {
    const node = await startNode(database, { env });
    const request = async (path: string, init: RequestInit = {}): Promise<Reply> => {
      const response = await fetch(node.gateway.url + path, init);
      const body = await response.text();
      return { status: response.status, body: body === "" ? null : JSON.parse(body), headers: response.headers };
    };
    const post = (name: string, body: unknown, user = "ada", headers: Record<string, string> = {}) =>
      request(`/v1/${name}`, {
        method: "POST",
        body: typeof body === "string" ? body : JSON.stringify(body),
        headers: { ...headers, ...(user && { authorization: `Bearer ${user}` }) },
      });
    return { node, request, post };
  }

  it("pushes, pulls and takes snapshots as the SQL functions do", async () => {
    const { post } = await start();
    const change = { op: "insert", table: "tasks", id: "t1", data: { title: "Milk" }, op_id: "o1", space_id: "team" };
    const pushed = await post("push", { app_id: "app", changes: [change], client_id: "phone" });
    expect(pushed).toMatchObject({
      status: 200,
      body: { results: [{ op_id: "o1", status: "applied", space_id: "team" }] },
    });
    const pulled = await post("pull", { app_id: "app" }, "eve");
    expect(pulled.body.changes).toMatchObject([
      { id: "t1", data: { title: "Milk" }, user_id: "ada", client_id: "phone" },
    ]);
    const rest = await post("pull", { app_id: "app", cursor: pulled.body.cursor, page_size: 10 }, "eve");
    expect(rest.body).toMatchObject({ changes: [], has_more: false });
    const filtered = await post("pull", { app_id: "app", tables: ["nothing"], exclude_client_id: null }, "eve");
    expect(filtered.body.changes).toEqual([]);
    const versions = { schema_versions: { tasks: 1 }, tables: ["tasks"] };
    expect((await post("pull", { app_id: "app", ...versions }, "eve")).body.changes).toHaveLength(1);
    expect((await post("snapshot", { app_id: "app", space_id: "team", ...versions }, "eve")).body.records).toHaveLength(
      1,
    );
    const snapshot = await post("snapshot", { app_id: "app", space_id: "team" }, "eve");
    expect(snapshot.body).toMatchObject({ records: [{ id: "t1", data: { title: "Milk" } }], next: null });
  });

  it("rejects a change alone, with its error", async () => {
    const { post } = await start();
    const change = (id: string, space_id: string) => ({ op: "insert", table: "tasks", id, data: {}, space_id });
    const changes = [change("mine", "~eve"), change("theirs", "team")];
    const { body } = await post("push", { app_id: "app", changes, client_id: null }, "eve");
    expect(body.results).toMatchObject([{ status: "applied" }, { status: "rejected", error: { code: "PE403" } }]);
  });

  it("keeps numbers that JavaScript would round", async () => {
    const { node, post } = await start();
    const body = `{"app_id":"exact","changes":[{"op":"insert","table":"t","id":"1","data":{"n":9007199254740993,"d":0.10}}],"client_id":"c"}`;
    expect((await post("push", body)).status).toBe(200);
    const response = await fetch(`${node.gateway.url}/v1/pull`, {
      method: "POST",
      headers: { authorization: "Bearer ada" },
      body: '{"app_id":"exact"}',
    });
    expect(await response.text()).toContain("9007199254740993");
  });

  it("answers errors with their code, word and detail, and the status of the code's digits", async () => {
    const { post } = await start({ PERCH_MAX_BODY_BYTES: "1000" });
    expect(await post("pull", { app_id: "app" }, "")).toMatchObject({
      status: 401,
      body: { error: { code: "PE401", word: "unauthenticated", message: expect.stringMatching(/^unauthenticated/) } },
    });
    expect(await post("pull", "{")).toMatchObject({ status: 422, body: { error: { code: "PE422", word: "invalid" } } });
    expect(await post("pull", "[]")).toMatchObject({ status: 422 });
    expect(await post("pull", { app_id: 7 })).toMatchObject({
      status: 422,
      body: { error: { detail: { issues: [{ at: "app_id" }] } } },
    });
    expect(await post("pull", { app_id: "app", pagesize: 1 })).toMatchObject({ status: 422 });
    expect(await post("push", { app_id: "app\u0000", changes: [] })).toMatchObject({ status: 422 });
    expect(await post("snapshot", { app_id: "app", space_id: "~bob" })).toMatchObject({ status: 403 });
    expect(await post("push", { app_id: "app", changes: ["x".repeat(2_000)] })).toMatchObject({
      status: 413,
      body: { error: { code: "PE413", detail: { limit: "body_bytes", max: 1000 } } },
    });
  });

  it("says which spaces need a snapshot when a cursor is of another time", async () => {
    const { post } = await start();
    await post("push", { app_id: "ahead", changes: [{ op: "insert", table: "t", id: "1" }], client_id: "c" });
    const { body } = await post("pull", { app_id: "ahead" });
    const cursor = JSON.parse(JSON.stringify(body.cursor).replace(/"(~ada)":\s*\d+/, '"$1":999999'));
    const reply = await post("pull", { app_id: "ahead", cursor });
    if (JSON.stringify(cursor) === JSON.stringify(body.cursor)) return expect(reply.status).toBe(200);
    expect(reply).toMatchObject({
      status: 410,
      body: { error: { code: "PE410", word: "resync_required", detail: { spaces: [{ space_id: "~ada" }] } } },
    });
  });

  it("is clear about paths, methods and origins", async () => {
    const { request, post } = await start();
    expect(await request("/")).toMatchObject({ status: 404, body: { error: { word: "not_found" } } });
    expect((await request("/v1/constructor", { method: "POST" })).status).toBe(404);
    const get = await request("/v1/push");
    expect([get.status, get.headers.get("allow")]).toEqual([405, "POST"]);
    expect((await request("/sync")).status).toBe(426);
    const local = await post("pull", { app_id: "app" }, "ada", { origin: "http://localhost:5173" });
    expect(local.headers.get("access-control-allow-origin")).toBe("http://localhost:5173");
    const preflight = await request("/v1/push", { method: "OPTIONS", headers: { origin: "http://localhost:5173" } });
    expect([preflight.status, preflight.headers.get("access-control-allow-methods")]).toEqual([
      204,
      "GET, POST, PUT, PATCH, DELETE",
    ]);
    expect((await post("pull", { app_id: "app" }, "ada", { origin: "https://evil.example" })).status).toBe(403);
  });

  it("says that it lives, and whether it is ready", async () => {
    let reason: string | undefined;
    const node = await startNode(database, { notReady: () => reason });
    const get = async (path: string) => (await fetch(node.gateway.url + path)).status;
    expect([await get("/healthz"), await get("/readyz")]).toEqual([200, 200]);
    reason = "the worker is not listening";
    expect([await get("/healthz"), await get("/readyz")]).toEqual([200, 503]);
  });

  it("is not ready while the database is away, and answers 503 then", async () => {
    let away = false;
    const gone = thrownByDriver(new Error("Connection terminated unexpectedly"));
    const query = <Row>(sql: string, params?: readonly unknown[]) =>
      away ? Promise.reject(gone) : database.db.query<Row>(sql, params);
    const db = {
      ...database.db,
      query,
      aside: { query },
      transaction: (...args: Parameters<typeof database.db.transaction>) =>
        away ? Promise.reject(gone) : database.db.transaction(...args),
    } as typeof database.db;
    const node = await startNode(database, { db });
    away = true;
    expect((await fetch(`${node.gateway.url}/readyz`)).status).toBe(503);
    expect((await fetch(`${node.gateway.url}/healthz`)).status).toBe(200);
    const reply = await fetch(`${node.gateway.url}/v1/pull`, {
      method: "POST",
      headers: { authorization: "Bearer ada" },
      body: '{"app_id":"app"}',
    });
    expect([reply.status, reply.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(await reply.text()).not.toContain("terminated");
  });
});
