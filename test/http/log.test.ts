import { SignJWT } from "jose";
import { pino } from "pino";
import { beforeAll, describe, expect, it } from "vitest";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, declareNotes, startNode } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { openEvents } from "./support.js";

const secret = "0123456789abcdef0123456789abcdef";
const tokenOf = (user: string) =>
  new SignJWT()
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));

describe("the log of HTTP", () => {
  const open = postgres();
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declareNotes(t);
  });

  it("names requests by their ids, and holds neither tokens nor content, at its most talkative", async () => {
    const lines: string[] = [];
    const log = pino({ level: "trace" }, { write: (line: string) => lines.push(line) });
    // Tokens that are more than a name: in development mode they are the user ids, which the log has.
    const node = await startNode(t, { log, env: { PERCH_MERGE_PATIENCE_MS: "60000", PERCH_JWT_SECRET: secret } });
    const [adas, bobs, eves] = [await tokenOf("ada"), await tokenOf("bob"), await tokenOf("eve")];
    const worker = await startWorker({ db: t.db, live: node.live, log });
    cleanup(() => worker.close());
    const note = "/v1/documents/~/app/notes/content-of-an-id";
    const ask = async (method: string, path: string, body?: string) => {
      const response = await fetch(node.gateway.url + path, {
        method,
        headers: { authorization: `Bearer ${adas}`, "x-request-id": "request-7" },
        ...(body !== undefined && { body }),
      });
      expect(response.headers.get("x-request-id")).toBe("request-7");
      return { status: response.status, text: await response.text() };
    };
    expect((await ask("PATCH", note, '{"patch": {"title": "content of a patch"}}')).status).toBe(200);
    expect((await ask("PATCH", note, '{"patch": {"title": 7, "content of a name": 1}}')).status).toBe(422);
    expect((await ask("PATCH", note, '{"patch": {"title": "content\\u0000"}}')).status).toBe(422);
    expect((await ask("PATCH", note, '{"patch": {}, "base_seq": 99, "op_id": "content"}')).status).toBe(410);
    expect((await ask("GET", note)).text).toContain("content of a patch");
    expect((await ask("GET", `${note}?seq=1&token=${eves}`)).status).not.toBe(500);
    expect((await ask("GET", `${note}/history`)).status).toBe(200);
    const change = '{"op":"insert","table":"content","id":"content","data":{"content":"content"}}';
    expect((await ask("POST", "/v1/push", `{"app_id":"content","changes":[${change}]}`)).status).toBe(200);
    expect((await ask("POST", "/v1/pull", '{"app_id":"content"}')).text).toContain('"content"');
    expect((await ask("GET", "/v1/changes?app_id=content&cursor=content")).status).toBe(422);
    expect((await ask("GET", "/content/of/a/path")).status).toBe(404);
    const stream = await openEvents(node, `app_id=content&token=${bobs}&exclude_client_id=content`, {
      token: adas,
      headers: { "x-request-id": "request-8" },
    });
    await stream.next();
    stream.close();
    await node.stop();
    expect(lines.join("")).not.toMatch(/content/);
    for (const token of [adas, bobs, eves]) {
      for (const part of token.split(".")) expect(lines.join("")).not.toContain(part);
    }
    const requests = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "request");
    expect(requests).toHaveLength(12);
    expect(requests[0]).toMatchObject({
      requestId: "request-7",
      method: "PATCH",
      path: "/v1/documents/{space}/{app}/{table}/{record}",
      status: 200,
      ms: expect.any(Number),
      userId: "ada",
    });
    expect(requests.filter(({ requestId }) => /^request-[78]$/.test(requestId))).toHaveLength(12);
  });

  it("shows who develops which path is none of perch's", async () => {
    const lines: string[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => lines.push(line) });
    const node = await startNode(t, { log });
    await fetch(`${node.gateway.url}/v1/psuh?token=secret`, { method: "POST", body: "{}" });
    const [request] = lines.map((line) => JSON.parse(line)).filter(({ msg }) => msg === "request");
    expect(request).toMatchObject({ method: "POST", path: "/v1/psuh", status: 404 });
    expect(lines.join("")).not.toContain("secret");
  });

  it("says of a fault in which request it was, and nothing that the statement had in it", async () => {
    const lines: string[] = [];
    const log = pino({ level: "warn" }, { write: (line: string) => lines.push(line) });
    const node = await startNode(t, { log });
    await t.db.query("alter function perch.push(text, jsonb, text, boolean) rename to push_moved");
    cleanup(() => t.db.query("alter function perch.push_moved(text, jsonb, text, boolean) rename to push"));
    const response = await fetch(`${node.gateway.url}/v1/push`, {
      method: "POST",
      headers: { authorization: "Bearer token-of-ada", "x-request-id": "request-9" },
      body: '{"app_id":"content","changes":["content"]}',
    });
    expect(response.status).toBe(500);
    const line = lines.map((each) => JSON.parse(each)).find(({ requestId }) => requestId === "request-9");
    expect(line).toMatchObject({ level: 50, err: { code: "42883" } });
    expect(lines.join("") + (await response.text())).not.toMatch(/token-of|content/);
  });
});
