import { createServer, get } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { beforeAll, expect, it } from "vitest";
import { withContext } from "../../src/identity/index.js";
import { push } from "../../src/log/index.js";
import { cleanup, makeSpace, startNode, until } from "../gateway/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { insert, metric, openEvents, pushAs } from "./support.js";

/** Only what the database notifies of, or one slow look for all, can explain what arrives. */
const quiet = { PERCH_RECHECK_MS: "60000" };

describeBothKinds("event streams", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });

  it("give what is there in pages, then what is committed, each with the id to go on from", async () => {
    const node = await startNode(t, { env: quiet });
    for (const id of ["a", "b", "c"]) await pushAs(t.db, "ada", "live", insert(id));
    const stream = await openEvents(node, "app_id=live&page_size=2");
    expect(stream.status).toBe(200);
    expect(stream.headers).toMatchObject({ "content-type": "text/event-stream; charset=utf-8" });
    expect(await stream.next()).toMatchObject({
      event: "changes",
      data: { changes: [{ id: "a" }, { id: "b" }], has_more: true, revoked_space_ids: [] },
    });
    expect((await stream.next()).data).toMatchObject({ changes: [{ id: "c" }], has_more: false });
    for (const id of ["d", "e"]) {
      await pushAs(t.db, "ada", "live", insert(id));
      expect((await stream.next()).data.changes).toMatchObject([{ id }]);
    }
    const { id, data } = stream.events.at(-2) ?? { id: "", data: {} };
    const later = await openEvents(node, "app_id=live", { lastEventId: id });
    expect((await later.next()).data.changes).toMatchObject([{ id: "e" }]);
    const byQuery = await openEvents(node, `app_id=live&cursor=${id}`);
    expect((await byQuery.next()).data.changes).toMatchObject([{ id: "e" }]);
    const byCursor = await openEvents(node, `app_id=live&cursor=${encodeURIComponent(JSON.stringify(data.cursor))}`);
    expect((await byCursor.next()).data.changes).toMatchObject([{ id: "e" }]);
  });

  it("say at once that there is nothing yet, and take tables and a client to leave out", async () => {
    const node = await startNode(t, { env: quiet });
    const stream = await openEvents(node, "app_id=empty&tables=tasks&tables=notes&exclude_client_id=ada-phone");
    expect((await stream.next()).data).toMatchObject({ changes: [], has_more: false });
    await pushAs(t.db, "ada", "empty", insert("mine"));
    await withContext(t.db, { userId: "ada" }, (tx) =>
      push(tx, {
        appId: "empty",
        clientId: "tablet",
        changes: [
          { op: "insert", table: "other", id: "o" },
          { op: "insert", table: "notes", id: "n" },
        ],
      }),
    );
    expect((await stream.next()).data.changes).toMatchObject([{ id: "n" }]);
  });

  it("keep numbers that JavaScript would round", async () => {
    const node = await startNode(t, { env: quiet });
    await fetch(`${node.gateway.url}/v1/push`, {
      method: "POST",
      headers: { authorization: "Bearer ada" },
      body: '{"app_id":"exact","changes":[{"op":"insert","table":"t","id":"1","data":{"n":9007199254740993}}]}',
    });
    const stream = await openEvents(node, "app_id=exact");
    await stream.next();
    expect(stream.text()).toContain("9007199254740993");
  });

  it("take a page apart wherever the words of its frame also stand in its content", async () => {
    const node = await startNode(t, { env: quiet });
    const odd = ',"cursor":{},"has_more":true,"revoked_space_ids":[]}';
    for (const space of ["cursor", odd, "has_more\n"]) {
      await makeSpace(t, space.replace("\n", ""), "odd", {});
    }
    const data = { [odd]: odd, cursor: { has_more: [odd] }, lines: "one\ntwo\r\nthree\u2028four" };
    await pushAs(t.db, "odd", "frame", insert(odd, "cursor", data), insert("2", odd, data));
    const stream = await openEvents(node, "app_id=frame", { token: "odd" });
    const event = await stream.next();
    expect(event.data.changes).toMatchObject([
      { id: "2", data },
      { id: odd, data },
    ]);
    expect(event.data.has_more).toBe(false);
    await pushAs(t.db, "odd", "frame", insert("3", "has_more", data));
    expect((await stream.next()).data.changes).toMatchObject([{ id: "3", data }]);
    const again = await openEvents(node, "app_id=frame", { token: "odd", lastEventId: event.id });
    expect((await again.next()).data.changes).toMatchObject([{ id: "3" }]);
  });

  it("answer what cannot be begun as every request is answered", async () => {
    const node = await startNode(t, { env: quiet });
    const get = async (query: string, headers: Record<string, string> = { authorization: "Bearer ada" }) => {
      const response = await fetch(`${node.gateway.url}/v1/changes?${query}`, { headers });
      return { status: response.status, body: JSON.parse(await response.text()) };
    };
    expect(await get("app_id=a", {})).toMatchObject({ status: 401, body: { error: { code: "PE401" } } });
    for (const wrong of ["", "app_id=a&app_id=b", "app_id=a&page_size=0", "app_id=a&colour=red", "app_id=a&cursor=?"]) {
      expect(await get(wrong)).toMatchObject({ status: 422, body: { error: { code: "PE422" } } });
    }
    expect(await get("app_id=a&schema_versions=no")).toMatchObject({ status: 422 });
    expect(await get(`app_id=a&cursor=${"x".repeat(70_000)}`)).toMatchObject({ status: 413 });
    const other = await openEvents(node, "app_id=other");
    const { id } = await other.next();
    expect(await get(`app_id=a&cursor=${id}`)).toMatchObject({ status: 422, body: { error: { word: "invalid" } } });
    const post = await fetch(`${node.gateway.url}/v1/changes`, { method: "POST" });
    expect([post.status, post.headers.get("allow")]).toEqual([405, "GET"]);
  });

  it("tell that the log does not go on from a cursor by an event with its detail, and end", async () => {
    const node = await startNode(t, { env: quiet });
    await pushAs(t.db, "ada", "gone", insert("a"));
    const first = await openEvents(node, "app_id=gone");
    const { data } = await first.next();
    const cursor = JSON.stringify({ ...data.cursor, spaces: { "~ada": [999_999, "12345678"] } });
    const stream = await openEvents(node, `app_id=gone&cursor=${encodeURIComponent(cursor)}`);
    expect(await stream.next()).toMatchObject({
      event: "problem",
      data: {
        error: { code: "PE410", word: "resync_required", detail: { spaces: [{ space_id: "~ada", reason: "ahead" }] } },
      },
    });
    expect(await stream.ended).toBe("end");
    expect(stream.retry()).toBeGreaterThan(5_000);
  });

  it("end with a problem while they are open, when the log is restored under them", async () => {
    const own = await open();
    const node = await startNode(own, { env: { PERCH_RECHECK_MS: "50" } });
    await pushAs(own.db, "ada", "live", insert("a"));
    const stream = await openEvents(node, "app_id=live");
    await stream.next();
    await own.db.query("update perch.log_epoch set epoch = gen_random_uuid()");
    await pushAs(own.db, "ada", "live", insert("b"));
    expect(await stream.next()).toMatchObject({ event: "problem", data: { error: { code: "PE410" } } });
    expect(await stream.ended).toBe("end");
  });

  it("are kept alive while nothing happens, and carry on the id over what is not theirs", async () => {
    const node = await startNode(t, { env: { ...quiet, PERCH_RECHECK_MS: "80", PERCH_STREAM_HEARTBEAT_MS: "50" } });
    const stream = await openEvents(node, "app_id=beat");
    const { id } = await stream.next();
    await until(() => stream.text().includes("\n:\n"));
    await pushAs(t.db, "ada", "elsewhere", insert("a"));
    await until(() => stream.lastEventId() !== id);
    expect(stream.events).toHaveLength(1);
  });

  it("bring the past of a space that is joined, and name one that is left", async () => {
    const node = await startNode(t);
    await makeSpace(t, "club", "olga");
    await pushAs(t.db, "olga", "member", insert("old", "club"));
    const stream = await openEvents(node, "app_id=member", { token: "vera" });
    await stream.next();
    const asOlga = (sql: string) => withContext(t.db, { userId: "olga" }, (tx) => tx.query(sql));
    await asOlga("select perch.set_space_member(space_id => 'club', user_id => 'vera', role => 'viewer')");
    expect((await stream.next()).data).toMatchObject({ changes: [{ id: "old", space_id: "club" }] });
    await asOlga("select perch.remove_space_member(space_id => 'club', user_id => 'vera')");
    await pushAs(t.db, "olga", "member", insert("secret", "club"));
    expect((await stream.next()).data).toMatchObject({ changes: [], revoked_space_ids: ["club"] });
    await pushAs(t.db, "vera", "member", insert("own"));
    expect((await stream.next()).data.changes).toMatchObject([{ id: "own" }]);
    expect(stream.text()).not.toContain("secret");
  });

  it("end when their token expires", async () => {
    const secret = "s".repeat(32);
    const node = await startNode(t, { env: { PERCH_JWT_SECRET: secret, PERCH_JWT_CLOCK_SKEW_SECONDS: "0" } });
    let expires = 0;
    const openFor = async (seconds: number) => {
      expires = Math.floor(Date.now() / 1000) + seconds;
      const token = await new SignJWT({ sub: "ada" })
        .setProtectedHeader({ alg: "HS256" })
        .setExpirationTime(expires)
        .sign(new TextEncoder().encode(secret));
      return openEvents(node, "app_id=token", { token });
    };
    const begunFor = async (seconds: number) => {
      const stream = await openFor(seconds);
      return stream.status !== 401 && (await stream.next()).event === "changes" ? stream : undefined;
    };
    // On a machine that took longer than that to begin, for longer.
    const stream = (await begunFor(2)) ?? (await begunFor(10)) ?? (await begunFor(40));
    if (stream === undefined) throw new Error("no stream began within its token's time");
    expect(await stream.next()).toMatchObject({ event: "problem", data: { error: { code: "PE401" } } });
    expect(Date.now()).toBeGreaterThanOrEqual(expires * 1000);
    expect(await stream.ended).toBe("end");
  });

  it("end when the gateway stops, and say when to come back", async () => {
    const node = await startNode(t, { env: quiet });
    const stream = await openEvents(node, "app_id=drain");
    await stream.next();
    await node.gateway.close();
    expect(await stream.ended).toBe("end");
    expect(stream.retry()).toBeGreaterThanOrEqual(1_000);
    expect(stream.retry()).toBeLessThanOrEqual(2_000);
  });

  it("take no place for who has gone before they begin", async () => {
    const { publicKey, privateKey } = await generateKeyPair("ES256");
    const keySet = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "k", alg: "ES256" }] });
    // Nobody is known before it answers.
    const waiting: (() => void)[] = [];
    const keys = createServer((_, response) => void waiting.push(() => response.end(keySet)));
    await new Promise<void>((resolve) => keys.listen(0, "127.0.0.1", resolve));
    cleanup(() => keys.close());
    const token = await new SignJWT({ sub: "ada" })
      .setProtectedHeader({ alg: "ES256", kid: "k" })
      .setExpirationTime("1h")
      .sign(privateKey);
    const env = {
      ...quiet,
      PERCH_MAX_SOCKETS_PER_USER: "1",
      PERCH_JWKS_URL: `http://127.0.0.1:${(keys.address() as AddressInfo).port}/`,
    };
    const node = await startNode(t, { env });
    const request = get(`${node.gateway.url}/v1/changes?app_id=many`, {
      headers: { authorization: `Bearer ${token}` },
    });
    request.on("error", () => undefined);
    await until(() => waiting.length > 0);
    request.destroy();
    const address = new URL(node.gateway.url);
    // The node knows by then that it has gone: it answers those who come later.
    await fetch(new URL("/healthz", address));
    for (const answer of waiting) answer();
    await fetch(`${node.gateway.url}/v1/spaces`, { headers: { authorization: `Bearer ${token}` } });
    const stream = await openEvents(node, "app_id=many", { token });
    expect((await stream.next()).event).toBe("changes");
  });

  it("give their place back, too, where they waited on their connection behind another", async () => {
    const node = await startNode(t, { env: { ...quiet, PERCH_MAX_SOCKETS_PER_USER: "2" } });
    const socket = connect(Number(new URL(node.gateway.url).port), "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(
      "GET /v1/changes?app_id=many HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ada\r\n\r\n".repeat(2),
    );
    await until(async () => (await metric(node, "perch_streams")) === 2);
    socket.destroy();
    await until(async () => (await metric(node, "perch_streams")) === 0);
    for (const stream of [await openEvents(node, "app_id=many"), await openEvents(node, "app_id=many")])
      expect((await stream.next()).event).toBe("changes");
  });

  it("are as many as a user, an address and the node may have", async () => {
    const limited = async (env: Record<string, string>) => {
      const node = await startNode(t, { env: { ...quiet, ...env } });
      const first = await openEvents(node, "app_id=many");
      await first.next();
      const url = `${node.gateway.url}/v1/changes?app_id=many`;
      const refused = await fetch(url, { headers: { authorization: "Bearer ada" } });
      expect([refused.status, (await refused.text()).includes("too_many_requests")]).toEqual([429, true]);
      first.close();
      await until(async () => (await metric(node, "perch_streams")) === 0);
      const again = await openEvents(node, "app_id=many");
      expect((await again.next()).event).toBe("changes");
    };
    await limited({ PERCH_MAX_STREAMS: "1" });
    await limited({ PERCH_MAX_SOCKETS_PER_USER: "1" });
    await limited({ PERCH_MAX_SOCKETS_PER_ADDRESS: "1" });
  });
});
