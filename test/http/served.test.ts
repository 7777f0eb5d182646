import { pino } from "pino";
import { beforeAll, describe, expect, it } from "vitest";
import { serve } from "../../src/cli/serve.js";
import { serveSettings } from "../../src/cli/settings.js";
import { cleanup, declareNotes, makeSpace, rawClient } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { openEvents } from "./support.js";

describe("HTTP of whole nodes", () => {
  const open = postgres();
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declareNotes(t);
    await makeSpace(t, "team", "ada", { bob: "editor" });
  });

  /** A worker and a gateway, as one process runs them; only notifications can explain what arrives. */
  async function start() {
    const env = { PERCH_PORT: "0", PERCH_RECHECK_MS: "60000", PERCH_MERGE_PATIENCE_MS: "60000" };
    const db = await t.connect();
    const serving = await serve(db, serveSettings({ development: true }, env), pino({ level: "silent" }));
    cleanup(async () => {
      await serving.close();
      await db.close();
    });
    const ask = async (method: string, path: string, user: string, body?: unknown) => {
      const response = await fetch(serving.gateway.url + path, {
        method,
        headers: { authorization: `Bearer ${user}` },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: response.status, text: await response.text() };
    };
    return { gateway: serving.gateway, url: serving.gateway.url.replace("http", "ws"), ask };
  }

  it("a change or patch on one node reaches the streams and rooms of the other", async () => {
    const [here, there] = await Promise.all([start(), start()]);
    const stream = await openEvents(there, "app_id=app", { token: "bob" });
    await stream.next();
    const change = { op: "insert", table: "tasks", id: "t1", space_id: "team" };
    await here.ask("POST", "/v1/push", "ada", { app_id: "app", changes: [change] });
    expect((await stream.next()).data.changes).toMatchObject([{ id: "t1", user_id: "ada" }]);

    const note = "/v1/documents/team/app/notes/n1";
    const room = await rawClient(there, { token: "bob" });
    await room.join("team/app/notes/n1");
    const patched = await here.ask("PATCH", note, "ada", { patch: { body: "Hello" } });
    expect(JSON.parse(patched.text)).toMatchObject({ status: "merged" });
    await room.next(3);
    expect(JSON.parse((await there.ask("GET", note, "bob")).text).data).toEqual({ title: null, body: "Hello" });
    expect((await stream.next()).data.changes).toMatchObject([{ id: "n1", data: { body: "Hello" } }]);

    const metrics = (await there.ask("GET", "/metrics", "")).text;
    for (const name of ["perch_engine_restarts_total 0", "perch_streams 1", "perch_pool_max_connections 10"]) {
      expect(metrics.split("\n")).toContain(name);
    }
    expect((await here.ask("GET", "/metrics", "")).text + metrics).toMatch(/^perch_merged_total 1$/m);
  });
});
