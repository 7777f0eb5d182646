import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it, vi } from "vitest";
import { createPerchClient, PerchError } from "../../src/client/index.js";
import { cleanup, until } from "../gateway/support.js";
import { as, badNetwork, secret, testServer, tokenOf } from "./support.js";

const insert = (id: string, data: Record<string, unknown> = {}) => ({
  op: "insert" as const,
  table: "tasks",
  id,
  data,
});

/** A server that answers as it is told, and notes what it was asked. */
async function scripted(
  answer: (nth: number, body: string) => { status: number; headers?: Record<string, string>; body?: string },
) {
  const asked: { authorization: string | undefined; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      asked.push({ authorization: request.headers.authorization, body });
      const { status, headers = {}, body: said = "{}" } = answer(asked.length, body);
      response.writeHead(status, { connection: "close", ...headers }).end(said);
    });
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  cleanup(() => new Promise((done) => server.close(done)));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}

it("pushes, pulls and reads snapshots as the SQL functions do", async () => {
  const server = await testServer();
  const ada = as("ada", server);
  const pushed = await ada.push({
    appId: "todo",
    changes: [insert("t1", { title: "Buy milk" }), { ...insert("t2"), space_id: "secret" }],
  });
  expect(pushed.results).toMatchObject([
    { status: "applied", space_id: "~ada" },
    { status: "rejected", error: { code: "PE403" } },
  ]);
  const page = await ada.pull({ appId: "todo", tables: ["tasks"] });
  expect(page).toMatchObject({
    has_more: false,
    changes: [{ id: "t1", client_id: "ada-phone", op_id: pushed.results[0]?.op_id }],
  });
  const snapshot = await ada.snapshot<{ title: string }>({ appId: "todo" });
  expect(snapshot.records[0]?.data?.title).toBe("Buy milk");
  expect((await ada.pull({ appId: "todo", cursor: snapshot.cursor })).changes).toEqual([]);
});

it("makes spaces, invites to them and leaves them", async () => {
  const server = await testServer();
  const [ada, bob] = [as("ada", server), as("bob", server)];
  await ada.spaces.create("team/a");
  const invitation = await ada.spaces.invite("team/a", { role: "viewer" });
  expect(await bob.spaces.accept(invitation)).toBe("team/a");
  expect(await bob.spaces.list()).toMatchObject([{ space_id: "team/a", role: "viewer" }, { space_id: "~bob" }]);
  await ada.spaces.setMember("team/a", "bob", "editor");
  await ada.spaces.invite("team/a", { maxUses: 2, validMinutes: 5 });
  const { members, invitations } = await ada.spaces.read("team/a");
  expect(members).toContainEqual({ user_id: "bob", role: "editor" });
  expect(await ada.spaces.revoke("team/a", invitations[0]?.invitation_id)).toBe(1);
  await bob.spaces.removeMember("team/a", "bob");
  await expect(bob.spaces.read("team/a")).rejects.toMatchObject({ code: "PE403" });
});

it("fails with a typed error of what does not pass, at once", async () => {
  const server = await testServer();
  const failed: unknown = await as("ada", server)
    .pull({ appId: "todo", pageSize: 0 })
    .catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(PerchError);
  expect(failed).toMatchObject({
    code: "PE422",
    word: "invalid",
    isPassing: false,
    detail: { issues: [{ at: "page_size" }] },
  });
});

it("tries what passes again, not sooner than it is told, and gives up when its patience ends", async () => {
  const busy = {
    status: 503,
    headers: { "retry-after": "1" },
    body: '{"error":{"code":"PE503","word":"unavailable","message":"unavailable: stopping","detail":null}}',
  };
  const server = await scripted((nth) =>
    nth === 1 ? busy : nth === 2 ? { status: 502, body: "<html>" } : { status: 200, body: '{"results":[]}' },
  );
  const began = Date.now();
  const client = createPerchClient({ url: `${server.url}/`, token: "ada" });
  expect(await client.push({ appId: "todo", changes: [] })).toEqual({ results: [] });
  expect(Date.now() - began).toBeGreaterThanOrEqual(1_000);
  expect(server.asked).toHaveLength(3);

  const dead = await scripted(() => busy);
  const impatient = createPerchClient({ url: dead.url, patienceMs: 500 });
  await expect(impatient.push({ appId: "todo", changes: [] })).rejects.toMatchObject({
    code: "PE503",
    retryAfter: 1,
    isPassing: true,
  });
  const nobody = createPerchClient({ url: "http://127.0.0.1:1", patienceMs: 0 });
  await expect(nobody.pull({ appId: "todo" })).rejects.toMatchObject({ code: "PE503", word: "unavailable" });
});

it("asks for another token when one is refused, once for many requests", async () => {
  const server = await testServer({ PERCH_JWT_SECRET: secret });
  const given: boolean[] = [];
  const client = createPerchClient({
    url: server.url,
    token: async ({ refused }) => {
      given.push(refused);
      return refused ? tokenOf("ada", 60) : "stale";
    },
  });
  await Promise.all([client.pull({ appId: "a" }), client.pull({ appId: "b" }), client.pull({ appId: "c" })]);
  expect(given).toEqual([false, true]);
  const fixed = createPerchClient({ url: server.url, token: "stale" });
  await expect(fixed.pull({ appId: "a" })).rejects.toMatchObject({ code: "PE401" });
});

it("sends the changes of later pushes after those of earlier ones, however often these are tried", async () => {
  const order: string[] = [];
  const server = await scripted((nth, body) => {
    const { changes } = JSON.parse(body) as { changes: { id: string }[] };
    order.push(changes[0]?.id ?? "");
    return nth < 3 ? { status: 503 } : { status: 200, body: '{"results":[]}' };
  });
  const client = createPerchClient({ url: server.url });
  await Promise.all(["a", "b", "c"].map((id) => client.push({ appId: "todo", changes: [insert(id)] })));
  expect(order).toEqual(["a", "a", "a", "b", "c"]);
});

it("sends what it was given when it was called, and nothing of what was given up before its turn", async () => {
  let release: (nothing?: undefined) => void = () => undefined;
  const held = new Promise<undefined>((resolve) => {
    release = resolve;
  });
  const sent: string[] = [];
  const client = createPerchClient({
    url: "http://perch.test",
    async fetch(_, init) {
      sent.push(
        (JSON.parse(String(init?.body)) as { changes: { data: { title: string } }[] }).changes[0]?.data.title ?? "",
      );
      await held;
      return Response.json({ results: [] });
    },
  });
  const stop = new AbortController();
  const [first, third] = ["first", "third"].map((title) => insert(title, { title })) as [
    ReturnType<typeof insert>,
    ReturnType<typeof insert>,
  ];
  const pushed = client.push({ appId: "todo", changes: [first] });
  const given = client.push({ appId: "todo", changes: [insert("second", { title: "second" })], signal: stop.signal });
  const last = client.push({ appId: "todo", changes: [third] });
  first.data.title = third.data.title = "changed";
  stop.abort(new Error("enough"));
  await expect(given).rejects.toThrow("enough");
  // What no text can be made of is an error of its push alone.
  await expect(client.push({ appId: "todo", changes: [insert("n", { n: 1n })] })).rejects.toThrow(TypeError);
  release();
  await Promise.all([pushed, last]);
  expect(sent).toEqual(["first", "third"]);
});

it("gives each change of a record a time of its own, later than those before, also when the clock was set back", async () => {
  const server = await testServer();
  const client = as("ada", server);
  const now = Date.now();
  const pushAt = async (ms: number, ...changes: Parameters<typeof client.push>[0]["changes"]) => {
    const clock = vi.spyOn(Date, "now").mockReturnValue(ms);
    const pushed = client.push({ appId: "todo", changes });
    clock.mockRestore();
    await pushed;
  };
  for (const title of ["z", "y", "x"]) await pushAt(now, insert("t", { title }));
  for (const title of ["b", "a"]) await pushAt(now - 3_600_000, insert("t", { title }));
  await pushAt(now, { op: "delete", table: "tasks", id: "t" }, insert("t", { title: "again" }));
  const { records } = await client.snapshot<{ title: string }>({ appId: "todo" });
  expect(records.map(({ data }) => data?.title)).toEqual(["again"]);
  const log = await server.db.query<{ at: string }>("select distinct at::text from perch.sync_changes");
  expect(log).toHaveLength(7);
});

it("does not wait for ever for a token that does not come", async () => {
  const server = await scripted(() => ({ status: 200, body: '{"changes":[]}' }));
  let asked = 0;
  const client = createPerchClient({
    url: server.url,
    timeoutMs: 200,
    token: () => (asked++ === 0 ? new Promise<never>(() => undefined) : "ada"),
  });
  const stop = new AbortController();
  const given = client.pull({ appId: "todo", signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(given).rejects.toThrow("enough");
  expect(await client.pull({ appId: "todo" })).toEqual({ changes: [] });
});

it("applies once what it sent twice, since the answer was lost", async () => {
  const server = await testServer();
  const network = await badNetwork(server);
  const client = as("ada", network);
  await client.pull({ appId: "todo" });
  network.hold("answers");
  const pushed = client.push({ appId: "todo", changes: [insert("t1", { n: 1 })] });
  const count = async () => (await server.db.query("select 1 from perch.sync_changes")).length;
  await until(async () => (await count()) === 1);
  network.cut();
  network.release();
  expect((await pushed).results).toMatchObject([{ status: "replayed", seq: 1 }]);
  expect(await count()).toBe(1);
});

it("stops trying when its signal comes", async () => {
  const server = await scripted(() => ({ status: 503 }));
  const stop = new AbortController();
  const asked = createPerchClient({ url: server.url }).pull({ appId: "todo", signal: stop.signal });
  await until(() => server.asked.length > 0);
  stop.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
});

it("takes nothing for a refusal that perch did not say", async () => {
  let page = { status: 200, body: "<html>" };
  const server = await scripted(() => page);
  const client = createPerchClient({ url: server.url, patienceMs: 0 });
  const foreign = '{"error":{"code":"Forbidden","message":"no"}}';
  for (const [status, body] of [
    [200, "<html>"],
    [200, '{"sign_in":"at the desk"}'],
    [200, "null"],
    [403, foreign],
    [404, "<html>"],
    [410, ""],
    [507, ""],
    [521, ""],
  ] as const) {
    page = { status, body };
    await expect(client.push({ appId: "todo", changes: [] })).rejects.toMatchObject({ code: "PE503", isPassing: true });
    const stop = new AbortController();
    const told: PerchError[] = [];
    const onError = (error: PerchError) => {
      told.push(error);
      stop.abort();
    };
    for await (const event of client.follow({ appId: "todo", signal: stop.signal, onError }))
      expect(event).toBe("none");
    expect(told).toMatchObject([{ code: "PE503" }]);
  }
  page = { status: 413, body: "<html>" };
  await expect(client.push({ appId: "todo", changes: [] })).rejects.toMatchObject({ code: "PE413", isPassing: false });
});

it("asks for a token again that could not be had, unless nobody is signed in", async () => {
  const server = await scripted(() => ({ status: 200, body: '{"results":[]}' }));
  const failures: Error[] = [
    new TypeError("Failed to fetch"),
    new PerchError({ code: "PE401", message: "signed out" }),
  ];
  const client = createPerchClient({
    url: server.url,
    token: () => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return "ada";
    },
  });
  await expect(client.push({ appId: "todo", changes: [] })).rejects.toMatchObject({ code: "PE401" });
  expect([failures.length, server.asked.length]).toEqual([0, 0]);
  await client.push({ appId: "todo", changes: [] });
});

it("asks for another token once, also where many requests are refused at the very same time", async () => {
  const asked: boolean[] = [];
  const client = createPerchClient({
    url: "http://perch.test",
    async token({ refused }) {
      asked.push(refused);
      return `token ${asked.length}`;
    },
    fetch: async (_, init) =>
      new Headers(init?.headers).get("authorization") === "Bearer token 1"
        ? Response.json(
            { error: { code: "PE401", word: "unauthenticated", message: "expired", detail: null } },
            { status: 401 },
          )
        : Response.json({ changes: [] }),
  });
  await Promise.all(Array.from({ length: 3 }, () => client.pull({ appId: "todo" })));
  expect(asked).toEqual([false, true]);
});
