import { pino } from "pino";
import { beforeAll, expect, it } from "vitest";
import { loggedError } from "../../src/gateway/index.js";
import { sparing } from "../../src/lib/log.js";
import { declareNotes, rawClient, startNode, text } from "../gateway/support.js";
import { pglite, type TestDatabase } from "../support/databases.js";

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
  // Who asked is in it, and in development a token is just that.
  const said = lines.join("").replaceAll(/"userId":"[^"]*"/g, "");
  expect(said).not.toMatch(/token-of|content/);
});

it("a fault that comes to everybody at once is logged once, and then now and again with how often", () => {
  let now = 0;
  const lines: { message: string; others?: number }[] = [];
  const write = (details: object, message: string) => lines.push({ message, ...(details as { others?: number }) });
  const warn = sparing({ warn: write as never }, 10_000, () => now);
  const away = Object.assign(new Error("away"), { code: "57P03" });
  for (let n = 0; n < 500; n++) warn(away, "an append failed");
  warn(new Error("another"), "an append failed");
  warn(away, "a join could not be answered", { socket: "7" });
  expect(lines).toMatchObject([
    { message: "an append failed" },
    { message: "an append failed" },
    { message: "a join could not be answered", socket: "7" },
  ]);
  now = 10_000;
  warn(away, "an append failed");
  expect(lines.at(-1)).toMatchObject({ message: "an append failed", others: 499 });
});
