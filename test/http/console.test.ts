import { SignJWT } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { views } from "../../src/http/console/views.js";
import { makeWorld } from "../access/world.js";
import { startNode } from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";

const secret = "0123456789abcdef0123456789abcdef";
const token = (user: string, claims: Record<string, unknown> = {}) =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));

// biome-ignore lint/suspicious/noExplicitAny: answers that are looked into
type Any = any;

const document = { space_id: "team", app_id: "notes", table_name: "pages", record_id: "olga-in-team" };
const record = { space_id: "team", app_id: "todo", table_name: "tasks", record_id: "olga-in-team" };
const inQuery = (values: Record<string, string | number>) =>
  new URLSearchParams(
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)])),
  ).toString();

describe("the console's API", () => {
  const open = pglite();
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await makeWorld(t);
  });

  const start = async (env: Record<string, string> = {}) => {
    const { gateway } = await startNode(t, { env });
    const call = async (method: string, path: string, as: string, body?: object) => {
      const response = await fetch(`${gateway.url}/v1/console${path}`, {
        method,
        headers: as === "" ? {} : { authorization: `Bearer ${as}` },
        ...(body && { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: (await response.json()) as Any };
    };
    return { url: gateway.url, call };
  };

  /** A patch of olga's that no worker could merge. */
  const setAside = async (id: string): Promise<{ seq: number } & typeof document> => {
    await t.asUser("olga", (tx) =>
      tx.query(
        `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1, patch => '{"title": "x"}', space_id => 'team')`,
        [id],
      ),
    );
    const [row] = await t.db.query<{ seq: number }>(
      `update perch.document_inbox set status = 'rejected', error = '{"code": "PE422", "message": "it was no title"}'
        where record_id = $1 and space_id = 'team' returning seq`,
      [id],
    );
    return { ...document, record_id: id, seq: Number(row?.seq) };
  };

  it("says how one signs in", async () => {
    expect((await (await start()).call("GET", "", "")).body).toEqual({ sign_in: "none" });
    expect((await (await start({ PERCH_JWT_SECRET: secret })).call("GET", "", "")).body).toEqual({ sign_in: "token" });
  });

  it("is for tokens that say so: a viewer reads, an admin acts, and nobody else does either", async () => {
    const { call } = await start({ PERCH_JWT_SECRET: secret });
    const item = await setAside("for-roles");
    const strangers = [
      await token("olga"),
      await token("olga", { perch_role: "owner" }),
      await token("olga", { perch_role: ["admin"] }),
    ];
    for (const each of strangers) {
      for (const name of [...Object.keys(views), "figures", "doctor", "content", "nothing"]) {
        expect(await call("GET", `/${name}?${inQuery(document)}`, each)).toMatchObject({ status: 403 });
      }
      expect(await call("POST", "/retry", each, item)).toMatchObject({ status: 403 });
    }
    expect(await call("GET", "/overview", "")).toMatchObject({ status: 401 });

    const viewer = await token("vic", { perch_role: "viewer" });
    expect(await call("GET", "/overview", viewer)).toMatchObject({ status: 200, body: { me: "vic", role: "viewer" } });
    for (const action of ["retry", "discard"]) {
      expect(await call("POST", `/${action}`, viewer, item)).toMatchObject({ status: 403, body: { error: {} } });
    }
    const admin = await token("root", { perch_role: "admin" });
    expect(await call("POST", "/discard", admin, item)).toMatchObject({ status: 200, body: { done: true } });
  });

  it("is away where it is switched off", async () => {
    const { url, call } = await start({ PERCH_CONSOLE: "off" });
    for (const path of ["", "/overview", "/nothing"])
      expect(await call("GET", path, "ann")).toMatchObject({ status: 404 });
    expect(await call("POST", "/retry", "ann", {})).toMatchObject({ status: 404 });
    for (const path of ["/", "/console", "/console/", "/console/assets/x.js"]) {
      expect((await fetch(url + path, { redirect: "manual", headers: { accept: "text/html" } })).status).toBe(404);
    }
  });

  it("is where a browser is led that opens the address alone, and no program", async () => {
    const { url } = await start();
    const headers = { accept: "text/html,application/xhtml+xml,*/*;q=0.8" };
    const led = await fetch(url, { redirect: "manual", headers });
    expect({ status: led.status, to: led.headers.get("location") }).toEqual({ status: 302, to: "console/" });
    expect((await fetch(url, { headers })).url).toBe(`${url}/console/`);
    expect((await fetch(url)).status).toBe(404);
  });

  it("answers each view on what is there", async () => {
    const { call } = await start();
    const ask = async (name: string, question: Record<string, string | number> = {}): Promise<Any> => {
      const { status, body } = await call("GET", `/${name}?${inQuery(question)}`, "ann");
      expect({ name, status, body }).toMatchObject({ status: 200 });
      return body;
    };
    expect((await ask("overview")).me).toBe("ann");
    const { spaces } = await ask("spaces", { search: "te" });
    expect(spaces).toMatchObject([{ space_id: "team", kind: "members", members: 3 }]);
    const first = await ask("spaces", { page_size: 2 });
    const rest = await ask("spaces", { page_size: 200, after: first.next });
    const all = (await ask("spaces", { page_size: 200 })).spaces.map(({ space_id }: Any) => space_id);
    expect([...first.spaces, ...rest.spaces].map(({ space_id }: Any) => space_id)).toEqual(all);
    expect(await ask("space", { space_id: "team" })).toMatchObject({
      members: [{ user_id: "eddy" }, { user_id: "olga" }, { user_id: "vera" }],
      invitations: 1,
      tables: [{ app_id: "todo", table: "tasks", records: 2, kind: "records" }],
    });
    expect((await ask("records", { ...record, search: "olga" })).records).toMatchObject([
      { id: "olga-in-team", deleted: false, preview: '{"title": "x"}' },
    ]);
    expect(await ask("record", record)).toMatchObject({
      fields: [{ name: "title", value: '"x"', user_id: "olga" }],
      entries: [{ op: "insert", user_id: "olga", client_id: "c" }],
    });
    const log = await ask("log", { space_id: "team" });
    expect(log.entries.map(({ seq }: Any) => seq)).toEqual(
      [...log.entries.map(({ seq }: Any) => seq)].sort((a, b) => b - a),
    );
    expect(log.entries.length).toBe(Number(log.head));
    const byRudi = await ask("log", { space_id: "team", user_id: "rudi" });
    expect(byRudi.entries.map(({ user_id }: Any) => user_id)).toEqual(["rudi"]);
    expect((await ask("log", { user_id: "olga", table_name: "tasks" })).entries).toHaveLength(2);
    expect((await ask("log", { space_id: "team", after_seq: log.head })).entries).toEqual([]);
    expect((await ask("log", { space_id: "team", before_seq: 2 })).entries).toHaveLength(1);
    expect(await ask("access", { user_id: "vera", space_id: "team" })).toMatchObject({
      role: "viewer",
      reads: true,
      writes: false,
    });
    expect(await ask("access", { user_id: "rudi", space_id: "team" })).toMatchObject({ role: null, reads: false });
    expect(await ask("document", document)).toMatchObject({ document: { head_seq: 4 }, versions: expect.any(Array) });
    await setAside("to-list");
    expect((await ask("set_aside")).items[0]).toMatchObject({
      id: "to-list",
      kind: "patch",
      patch: '{"title": "x"}',
      error: { message: "it was no title" },
    });
    expect(await ask("shapes")).toMatchObject({ readers: [], slow: [] });
    expect(await ask("synced")).toMatchObject({ tables: [{ relation: "public.orders" }], waiting: [{ changes: 1 }] });
    const threads = await ask("threads", { tenant_id: "acme" });
    expect(threads.threads.length).toBeGreaterThan(0);
    const { thread_id, namespace, head_id } = threads.threads.find(({ format }: Any) => format === "state");
    const thread = await ask("thread", { tenant_id: "acme", thread_id, namespace });
    expect(thread.checkpoints.map(({ id }: Any) => id)).toContain(head_id);
    const checkpoint = await ask("checkpoint", { tenant_id: "acme", thread_id, namespace, checkpoint_id: head_id });
    expect(checkpoint.state).toBeTypeOf("object");
    expect((await ask("figures")).text).toContain("perch_sockets");
  });

  it("refuses what is no view, no action, or no page of one", async () => {
    const { call } = await start();
    for (const path of ["/nothing", "/constructor", "/record?space_id=a&app_id=b&table_name=c&record_id=d"]) {
      expect(await call("GET", path, "ann")).toMatchObject({ status: 404 });
    }
    const wrong = [
      "/spaces?page_size=201",
      "/record?space_id=team",
      "/log",
      "/spaces?colour=red",
      "/checkpoint?checkpoint_id=x",
    ];
    for (const path of wrong)
      expect({ path, ...(await call("GET", path, "ann")) }).toMatchObject({ path, status: 422 });
    expect(await call("POST", "/nothing", "ann", {})).toMatchObject({ status: 404 });
    expect(await call("POST", "/retry", "ann", { space_id: "team" })).toMatchObject({ status: 422 });
  });

  it("keeps who did what, once for each thing that was done", async () => {
    const { call } = await start();
    const item = await setAside("to-retry");
    const actions = async () => (await call("GET", "/overview", "ann")).body.actions;
    const before = (await actions()).length;
    expect(await call("POST", "/retry", "ann", item)).toMatchObject({ body: { done: true } });
    expect(await call("POST", "/retry", "ann", item)).toMatchObject({ body: { done: false } });
    const after = await actions();
    expect(after.length).toBe(before + 1);
    const { table_name, record_id, ...rest } = item;
    expect(after[0]).toMatchObject({
      user_id: "ann",
      action: "retry",
      subject: { ...rest, table: table_name, id: record_id },
    });
    const [row] = await t.db.query("select status from perch.document_inbox where record_id = 'to-retry'");
    expect(row).toEqual({ status: "pending" });
  });

  it("looks in transactions that can write nothing, and act for nobody who has not entered", async () => {
    const tried = t.asWorker(async (tx) => {
      await tx.script("set transaction read only");
      await tx.query("select perch.enter_console(user_id => 'ann', role => 'admin')");
      await tx.query("select perch.console_discard('team', 'notes', 'pages', 'olga-in-team', 1)");
    });
    await expect(tried).rejects.toThrow(/read-only transaction/);
    const entered = t.asWorker(async (tx) => {
      await tx.query("select perch.enter_console(user_id => 'vic', role => 'viewer')");
      await tx.query("select perch.note_console_action('retry', '{}')");
    });
    await expect(entered).rejects.toMatchObject({ code: "PE403" });
    // It lasts for the transaction.
    await expect(t.asWorker((tx) => tx.query("select perch.console_overview()"))).rejects.toMatchObject({
      code: "PE401",
    });
  });

  it("costs no more for a space whose log is long", async () => {
    await t.db.query(
      `insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, at, user_id)
       select 'long', n, 'a', 't', n::text, 'insert', now(), case when n = 1 then 'rare' else 'often' end
         from generate_series(1, 12000) n`,
    );
    await t.db.query("insert into perch.space_heads (space_id, seq) values ('long', 12000)");
    const { call } = await start();
    const look = async (before: number | undefined) =>
      (
        await call(
          "GET",
          `/log?${inQuery({ space_id: "long", user_id: "rare", ...(before && { before_seq: before }) })}`,
          "ann",
        )
      ).body;
    const first = await look(undefined);
    expect(first).toMatchObject({ entries: [], head: 12_000, reached: 7_001 });
    expect(await look(first.reached)).toMatchObject({ entries: [], reached: 2_001 });
    expect(await look(2_001)).toMatchObject({ entries: [{ seq: 1 }], reached: 1 });
  });
});
