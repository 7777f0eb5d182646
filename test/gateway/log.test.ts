import { pino } from "pino";
import { beforeAll, expect, it } from "vitest";
import { loggedError } from "../../src/gateway/index.js";
import { pglite, type TestDatabase } from "../support/databases.js";
import { declareNotes, rawClient, startNode, text } from "./support.js";

const open = pglite();
let database: TestDatabase;
beforeAll(async () => {
  database = await open();
  await declareNotes(database);
});

it("errors are logged without what they quote", async () => {
  const error: unknown = await database.db.query("select $1::text::int", ["my secret diary"]).catch((caught) => caught);
  const logged = JSON.stringify(loggedError(error));
  expect(logged).toContain("22P02");
  expect(logged).not.toContain("diary");
  expect(loggedError("a plain string")).toEqual({ type: "string" });
  expect(loggedError(new TypeError("as is"))).toMatchObject({ type: "TypeError", message: "as is" });
});

it("the log holds neither tokens nor content, at its most talkative", async () => {
  const lines: string[] = [];
  const log = pino({ level: "trace" }, { write: (line: string) => lines.push(line) });
  const node = await startNode(database, { log });
  const client = await rawClient(node, { token: "token-of-ada" });
  await client.join("/app/notes/n1", { token: "token-of-bob" });
  await client.join("/app/nowhere/n1");
  await client.update("/app/notes/n1", [text("content of an update that is none")]);
  await fetch(`${node.gateway.url}/v1/push?token=token-of-eve`, {
    method: "POST",
    body: '{"app_id":"a","changes":[{"op":"content of a change"}],"client_id":"content\\u0000"}',
  });
  client.sendRaw(text("content of a frame that is none"));
  await client.closed;
  await node.stop();
  expect(lines.length).toBeGreaterThan(3);
  expect(lines.join("")).not.toMatch(/token-of|content/);
});
