import { beforeEach, expect, it } from "vitest";
import { type Node, startNode } from "../gateway/support.js";
import { postgres } from "../support/databases.js";

const open = postgres();
let node: Node;
beforeEach(async () => {
  node = await startNode(await open());
});

const post = (name: string, body: string) =>
  fetch(`${node.gateway.url}/v1/${name}`, { method: "POST", headers: { authorization: "Bearer eve" }, body });

/** What is asked, what it is answered with, and how long that answer may be. */
const answerBytes = 5_000;

it.each([
  [
    "a list of a million numbers where names are wanted",
    "pull",
    () => `{"app_id":"a","tables":[${"0,".repeat(1e6)}0]}`,
  ],
  ["a list of nine thousand of them", "pull", () => `{"app_id":"a","tables":[${"0,".repeat(9_000)}0]}`],
  ["a million unknown names", "push", () => `{${Array.from({ length: 1e6 }, (_, n) => `"k${n}":0`).join()}}`],
  ["nine thousand of them", "push", () => `{${Array.from({ length: 9_000 }, (_, n) => `"k${n}":0`).join()}}`],
  ["an unknown name of a megabyte", "snapshot", () => `{"app_id":"a","${"k".repeat(1e6)}":0}`],
  ["a million versions", "pull", () => `{"schema_versions":{${Array.from({ length: 1e6 }, (_, n) => `"k${n}":0`)}}}`],
])("%s are answered in a few words", async (_, name, body) => {
  const response = await post(name, body());
  const text = await response.text();
  expect([413, 422]).toContain(response.status);
  expect(text.length).toBeLessThan(answerBytes);
  expect(JSON.parse(text).error.message.length).toBeGreaterThan(20);
});

it("a short body with more items than any honest one is refused before they are looked at", async () => {
  const response = await post("pull", `{"app_id":"a","tables":[${"0,".repeat(30_000)}0]}`);
  expect(response.status).toBe(413);
  expect(await response.json()).toMatchObject({ error: { detail: { limit: "items", at: "tables" } } });
});

it("a query of fifteen thousand parameters is refused, at a cost that grows with its length only", async () => {
  const query = Array.from({ length: 15_000 }, (_, n) => `${n.toString(36)}=`).join("&");
  const response = await fetch(`${node.gateway.url}/v1/changes?${query}`, { headers: { authorization: "Bearer eve" } });
  const text = await response.text();
  expect([response.status, text.length < answerBytes]).toEqual([422, true]);
  expect(text).toContain("over 1100 parameters");
});
