import { request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { declareNotes, type Node, startNode } from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

/** A request whose path and headers go out as they are given. */
function ask(node: Node, path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { port } = node.gateway;
    const request = httpRequest({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      let body = "";
      const answer = () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      // A stream that is let in has no end.
      if (response.headers["content-type"]?.startsWith("text/event-stream")) {
        answer();
        request.destroy();
      }
      response.setEncoding("utf8").on("data", (text: string) => {
        body += text;
      });
      response.on("error", () => undefined);
      response.on("end", answer);
    });
    request.on("error", reject);
    request.end();
  });
}

/** The status that a WebSocket is refused with, or "open". */
function shakeHands(node: Node, headers: Record<string, string>): Promise<number | "open"> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`${node.url}/sync?token=ann`, { headers });
    socket.on("open", () => {
      resolve("open");
      socket.close();
    });
    socket.on("unexpected-response", (_, response) => resolve(response.statusCode ?? 0));
    socket.on("error", () => undefined);
  });
}

const open = pglite();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

const key = { PERCH_JWT_SECRET: "a secret of at least thirty-two bytes" };
const stream = "/v1/changes?app_id=app&token=ann";

describe("development mode", () => {
  it.each(["localhost", "LOCALHOST:5173", "127.0.0.1", "127.0.0.1:4466", "[::1]", "[::1]:4466"])(
    "answers to the name %s",
    async (host) => {
      const node = await startNode(database);
      expect((await ask(node, "/healthz", { host })).status).toBe(200);
      expect((await ask(node, stream, { host })).status).toBe(200);
      expect(await shakeHands(node, { host })).toBe("open");
    },
  );

  it.each([
    "evil.example",
    "evil.example:4466",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil@localhost",
    "localhost@evil.example",
    "localhost.",
    "10.0.0.1",
    "[::2]",
  ])("does not answer to the name %j, as a page there would use it: no GET, stream or WebSocket", async (host) => {
    const node = await startNode(database);
    expect((await ask(node, "/v1/documents/~/app/notes/n1", { host, authorization: "Bearer ann" })).status).toBe(403);
    expect((await ask(node, stream, { host })).status).toBe(403);
    expect(await shakeHands(node, { host })).toBe(403);
  });

  it("answers to names that are configured", async () => {
    const node = await startNode(database, { env: { PERCH_ALLOWED_HOSTS: "perch.test, Other.test" } });
    for (const host of ["perch.test", "other.test:80", "localhost"]) {
      expect((await ask(node, "/healthz", { host })).status).toBe(200);
      expect(await shakeHands(node, { host })).toBe("open");
    }
    expect((await ask(node, "/healthz", { host: "evil.test" })).status).toBe(403);
  });

  it.each([
    ["forwarded", "for=203.0.113.9"],
    ["via", "1.1 proxy"],
    ["x-forwarded-for", "203.0.113.9"],
    ["x-forwarded-proto", "https"],
    ["x-forwarded-host", "app.example"],
    ["x-real-ip", "203.0.113.9"],
    ["cf-connecting-ip", "203.0.113.9"],
  ])("refuses what a proxy passes on, by its header %s", async (name, value) => {
    const node = await startNode(database);
    const refused = await ask(node, "/v1/openapi.json", { [name]: value });
    expect(refused.status).toBe(403);
    expect(JSON.parse(refused.body).error.hint).toContain("PERCH_JWT_SECRET");
    expect((await ask(node, stream, { [name]: value })).status).toBe(403);
    expect(await shakeHands(node, { [name]: value })).toBe(403);
    const withKey = await startNode(database, { env: key });
    expect((await ask(withKey, "/healthz", { [name]: value })).status).toBe(200);
  });

  it("refuses pages of other sites that send no Origin, and not those whose Origin may connect", async () => {
    const node = await startNode(database);
    const crossSite = { "sec-fetch-site": "cross-site" };
    expect(
      (await ask(node, "/v1/documents/~/app/notes/n1", { ...crossSite, authorization: "Bearer ann" })).status,
    ).toBe(403);
    expect((await ask(node, stream, crossSite)).status).toBe(403);
    expect((await ask(node, "/healthz", { "sec-fetch-site": "same-origin" })).status).toBe(200);
    // A development server on http://localhost is another site than http://127.0.0.1.
    const local = { ...crossSite, origin: "http://localhost:5173" };
    expect((await ask(node, stream, local)).status).toBe(200);
    expect(await shakeHands(node, local)).toBe("open");
  });
});

describe("with tokens", () => {
  it("any name is answered to, unless names are configured", async () => {
    const any = await startNode(database, { env: key });
    expect((await ask(any, "/healthz", { host: "app.example" })).status).toBe(200);
    const named = await startNode(database, { env: { ...key, PERCH_ALLOWED_HOSTS: "app.example" } });
    expect((await ask(named, "/healthz", { host: "app.example" })).status).toBe(200);
    expect((await ask(named, "/healthz", { host: "evil.example" })).status).toBe(403);
  });
});

describe("a path", () => {
  it.each([
    "/v1/../metrics",
    "/v1/%2e%2e/metrics",
    "/v1/.%2E/metrics",
    "/./metrics",
    "/%2e/metrics",
    "/v1\\..\\metrics",
    "/v1/x/..\\..\\metrics",
    "//x/metrics",
    "//metrics",
    "http://x/metrics",
    "http://127.0.0.1/metrics",
    "metrics",
    "*",
    "/metrics#x",
    "/v1/..",
  ])("that has a second reading (%s) is refused, and leads nowhere", async (path) => {
    const node = await startNode(database);
    expect((await ask(node, path)).status).toBe(400);
  });

  it.each([
    ["/metrics", 200],
    ["/metrics?a=/../b", 200],
    ["/v1/documents/~/app/notes/%2e%2e%2f", 404],
    ["/v1/documents/~/app/notes/a%2Fb%5Cc", 404],
    ["/v1/documents/~/app/notes/...", 404],
  ])("that has one reading (%s) is looked at", async (path, status) => {
    const node = await startNode(database);
    expect((await ask(node, path, { authorization: "Bearer ann" })).status).toBe(status);
  });

  it("with dots opens no WebSocket", async () => {
    const node = await startNode(database);
    const refused = httpRequest({
      host: "127.0.0.1",
      port: node.gateway.port,
      path: "/v1/../sync",
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      },
    });
    const status = await new Promise((resolve) => {
      refused.on("response", (response) => resolve(response.statusCode));
      refused.on("upgrade", () => resolve("open"));
      refused.end();
    });
    expect(status).toBe(400);
  });
});

it("no answer is taken for another kind of content than it says", async () => {
  const node = await startNode(database);
  for (const path of ["/healthz", "/nowhere", "/v1/../x", stream]) {
    expect((await ask(node, path)).headers["x-content-type-options"]).toBe("nosniff");
  }
});
