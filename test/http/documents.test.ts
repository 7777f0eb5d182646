import { LoroDoc } from "loro-crdt";
import { beforeAll, expect, it } from "vitest";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, declareNotes, makeSpace, rawClient, startNode, typed, until } from "../gateway/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";

/** However slow the machine is. */
const patient = { PERCH_MERGE_PATIENCE_MS: "60000" };

describeBothKinds("documents over HTTP", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declareNotes(t);
    await makeSpace(t, "team/1", "ada", { vera: "viewer", eddy: "editor" });
  });

  async function start({ worker = true, env = {} as Record<string, string> } = {}) {
    const node = await startNode(t, { env: { ...patient, ...env } });
    if (worker) {
      const started = await startWorker({ db: t.db, live: node.live });
      cleanup(() => started.close());
    }
    const request = async (method: string, path: string, body?: unknown, user = "ada") => {
      const response = await fetch(`${node.gateway.url}/v1/documents/${path}`, {
        method,
        headers: user === "" ? {} : { authorization: `Bearer ${user}` },
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      });
      // biome-ignore lint/suspicious/noExplicitAny: what the tests look into is what they expect
      return { status: response.status, body: JSON.parse(await response.text()) as any };
    };
    return {
      node,
      read: (path: string, user?: string) => request("GET", path, undefined, user),
      patch: (path: string, body: unknown, user?: string) => request("PATCH", path, body, user),
    };
  }

  it("are patched and read, merged at once", async () => {
    const { read, patch } = await start();
    const { status, body } = await patch("~/app/notes/n1", { patch: { title: "Plans", body: "Go north" } });
    expect({ status, body }).toMatchObject({ status: 200, body: { status: "merged", seq: 1 } });
    const first = await read("~/app/notes/n1");
    expect(first).toMatchObject({
      status: 200,
      body: { space_id: "~ada", app_id: "app", table: "notes", id: "n1", data: { title: "Plans", body: "Go north" } },
    });
    // An empty part is the personal space, too, and so is its whole name.
    expect(await read("/app/notes/n1")).toEqual(first);
    expect(await read("~ada/app/notes/n1")).toEqual(first);
  });

  it("merge a patch where it was based, and undo no concurrent edit", async () => {
    const { read, patch } = await start();
    await patch("~/app/notes/n2", { patch: { body: "The quick fox" } });
    const { seq, revision } = (await read("~/app/notes/n2")).body;
    await patch("~/app/notes/n2", { patch: { body: "The quick brown fox" }, base_seq: seq });
    await patch("~/app/notes/n2", { patch: { body: "The quick fox jumps" }, base_seq: seq, base_revision: revision });
    // What a database that went back would have in the place of what was read.
    const elsewhere = await patch("~/app/notes/n2", {
      patch: { body: "" },
      base_seq: seq,
      base_revision: revision + 1,
    });
    expect(elsewhere).toMatchObject({
      status: 410,
      body: { error: { code: "PE410", detail: { argument: "base_seq" } } },
    });
    expect((await read("~/app/notes/n2")).body.data.body).toBe("The quick brown fox jumps");
  });

  it("show what a Loro client just wrote, before the record does", async () => {
    const { node, read } = await start({ worker: false });
    const client = await rawClient(node, { token: "ada" });
    await client.join("/app/notes/n3");
    expect(await client.update("/app/notes/n3", [typed(new LoroDoc(), "typed")])).toBe(0);
    expect((await read("~/app/notes/n3")).body).toMatchObject({ seq: 1, data: { title: null, body: "typed" } });
    expect(await t.db.query("select from perch.records where record_id = 'n3'")).toEqual([]);
  });

  it("are shown as they were at a position, and by whom they were changed", async () => {
    const { read, patch } = await start();
    const path = "team%2F1/app/notes/n4";
    await patch(path, { patch: { title: "One" }, client_id: "phone" });
    const first = (await read(path)).body.seq;
    await patch(path, { patch: { title: "Two" } }, "eddy");
    const second = (await read(path, "vera")).body;
    expect(second.data).toMatchObject({ title: "Two" });
    expect((await read(`${path}?seq=${first}`, "vera")).body).toMatchObject({ seq: first, data: { title: "One" } });
    expect((await read(`${path}?seq=${second.seq}`)).body).toMatchObject(second);
    expect(await read(`${path}?seq=999`)).toMatchObject({ status: 404, body: { error: { code: "PE404" } } });

    const history = await read(`${path}/history`, "vera");
    const when = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    expect(history).toMatchObject({
      status: 200,
      body: {
        versions: [
          { seq: second.seq, user_id: "eddy", client_id: null, updates: 1, first_at: when, last_at: when },
          { seq: first, user_id: "ada", client_id: "phone", updates: 1 },
        ],
        next: null,
      },
    });
    const page = (await read(`${path}/history?max_count=1`)).body;
    expect(page.versions).toHaveLength(1);
    const rest = (await read(`${path}/history?max_count=1&before=${page.next}`)).body;
    expect(rest.versions).toMatchObject([{ user_id: "ada" }]);
  });

  it("answer a repeated op_id as the first time, and another patch under it with a conflict", async () => {
    const { patch } = await start();
    const once = { patch: { title: "Once" }, op_id: "op-1" };
    const first = await patch("~/app/notes/n5", once);
    expect(await patch("~/app/notes/n5", once)).toEqual(first);
    expect(await patch("~/app/notes/n5", { ...once, patch: { title: "Twice" } })).toMatchObject({
      status: 409,
      body: { error: { code: "PE409" } },
    });
  });

  it("keep numbers that JavaScript would round", async () => {
    await t.db.query(
      `select perch.declare_table(app_id => 'app', table_name => 'sums', fields => '{"n": "integer", "j": "json"}')`,
    );
    const { read, patch } = await start();
    await patch("~/app/sums/s", '{"patch": {"n": 9007199254740993}}');
    expect((await read("~/app/sums/s")).body.data.n).toBe("9007199254740993");
  });

  it("are refused to who may not: forbidden, unknown, and nothing in between", async () => {
    const { read, patch } = await start();
    await patch("~/app/notes/mine", { patch: { title: "Mine" } });
    await patch("team%2F1/app/notes/ours", { patch: { title: "Ours" } });
    for (const path of ["~ada/app/notes/mine", "team%2F1/app/notes/ours", "nowhere/app/notes/x"]) {
      for (const more of ["", "?seq=1", "/history"]) {
        expect(await read(path + more, "otto")).toMatchObject({ status: 403, body: { error: { code: "PE403" } } });
        expect((await read(path + more, "")).status).toBe(401);
      }
      expect((await patch(path, { patch: {} }, "otto")).status).toBe(403);
    }
    expect((await patch("team%2F1/app/notes/ours", { patch: { title: "Hers" } }, "vera")).status).toBe(403);
    expect((await read("~/app/notes/never")).body.error).toMatchObject({ code: "PE404", detail: { id: "never" } });
    expect((await read("~/app/nothing/x")).body.error).toMatchObject({ code: "PE404", detail: { table: "nothing" } });
    expect((await patch("~/app/nothing/x", { patch: {} })).status).toBe(404);
  });

  it("answer what is malformed: the size first, then the shape, then the meaning", async () => {
    const { read, patch, node } = await start({ env: { PERCH_MAX_BODY_BYTES: "200" } });
    const path = "~/app/notes/n6";
    const invalid = { status: 422, body: { error: { code: "PE422" } } };
    expect(await patch(path, "x".repeat(300))).toMatchObject({
      status: 413,
      body: { error: { detail: { limit: "body_bytes", max: 200 } } },
    });
    expect(await patch(path, "no JSON")).toMatchObject(invalid);
    for (const body of [[], {}, { patch: [] }, { patch: {}, colour: 1 }, { patch: {}, base_seq: -1 }]) {
      expect(await patch(path, body)).toMatchObject(invalid);
    }
    expect(await patch(path, { patch: { colour: "red" } })).toMatchObject({
      status: 422,
      body: { error: { detail: { table: "notes", field: "colour" } } },
    });
    expect(await patch(path, { patch: { title: 7 } })).toMatchObject({
      status: 422,
      body: { error: { detail: { field: "title", expected: "string", got: "number" } } },
    });
    expect(await patch(path, { patch: {}, base_seq: 99 })).toMatchObject({
      status: 410,
      body: { error: { code: "PE410" } },
    });
    expect(await patch(path, '{"patch": {"title": "\\u0000"}}')).toMatchObject(invalid);
    for (const query of ["?seq=x", "?seq=-1", "?seq=1.5", "?colour=red", "/history?max_count=0", "/history?before=x"]) {
      expect(await read(path + query)).toMatchObject(invalid);
    }
    expect((await read("~/app/notes")).status).toBe(404);
    expect((await read("~/app/notes/%E0%A4%A")).status).toBe(404);
    const post = await fetch(`${node.gateway.url}/v1/documents/${path}`, { method: "POST" });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET, PATCH"]);
  });

  it("are answered at once, as pending, when the gateway stops before they are merged", async () => {
    const { node, patch } = await start({ worker: false });
    const patched = patch("~/app/notes/n8", { patch: { title: "Late" } });
    await until(async () => (await t.db.query("select from perch.document_inbox where record_id = 'n8'")).length === 1);
    await node.stop();
    expect(await patched).toMatchObject({ status: 202, body: { status: "pending" } });
  });

  it("say that a patch is pending where no worker is, and with which error it was set aside", async () => {
    const alone = await start({ worker: false, env: { PERCH_MERGE_PATIENCE_MS: "30" } });
    expect(await alone.patch("~/app/notes/n7", { patch: { title: "Later" } })).toMatchObject({
      status: 202,
      body: { status: "pending", seq: 1 },
    });
    expect((await alone.read("~/app/notes/n7")).status).toBe(404);
    await alone.node.stop();
    const { read, patch } = await start();
    await until(async () => (await read("~/app/notes/n7")).body.data?.title === "Later");
    await t.db.query(
      `select perch.declare_table(app_id => 'app', table_name => 'trees', fields => '{"nodes": "tree"}')`,
    );
    expect(await patch("~/app/trees/t", { patch: { nodes: [{ id: 7, children: "none" }] } })).toMatchObject({
      status: 422,
      body: { error: { code: "PE422", word: "invalid", detail: { pushed_seq: 1 } } },
    });
  });
});
