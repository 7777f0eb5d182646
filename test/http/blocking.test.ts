import { type IncomingMessage, request } from "node:http";
import { expect, it, onTestFinished } from "vitest";
import { askProbe, probeArgs } from "../../scripts/support/loop-probe.js";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { operations } from "../../src/http/operations.js";
import { postgres } from "../support/databases.js";

const open = postgres();

/** Of a change or a patch, and of a question. */
const longest = 8 * 2 ** 20 - 200;
const longestQuestion = 2 ** 20 - 200;
const longestSubset = 2 ** 18 - 200;
const repeated = (bytes: number, text: string, ending = "") =>
  text.repeat(Math.floor((bytes - ending.length) / text.length)) + ending;
const names = (count: number) => Array.from({ length: count }, (_, n) => `"${n.toString(36)}":0`).join();

/** Bodies as long as they may be, of whatever takes a parser longest. */
const values: Record<string, (bytes: number) => string> = {
  zeros: (bytes) => `[${repeated(bytes, "0,", "0]")}`,
  brackets: (bytes) => repeated(bytes, "["),
  objects: (bytes) => `[${repeated(bytes, "{},", "0]")}`,
  "nested objects": (bytes) => repeated(bytes, '{"a":'),
  names: (bytes) => `{${names(Math.floor(bytes / 12))}}`,
  letters: (bytes) => `"${repeated(bytes, "a", '"')}`,
  quotes: (bytes) => `"${repeated(bytes, '\\"', '"')}`,
  "strings around a large number": (bytes) => `[[${repeated(bytes, '"a",', "1e1000]")}]`,
  "a string that does not end": (bytes) => `["\\\n",1e1000,${repeated(bytes - 20, "x", "]")}`,
  "letters of three bytes": (bytes) => `"${"€".repeat(Math.floor(bytes / 3.1))}"`,
};
const places: Record<string, readonly [string, string, (value: string) => string]> = {
  push: ["POST", "/v1/push", (value) => `{"app_id":"a","changes":${value}}`],
  pull: ["POST", "/v1/pull", (value) => `{"app_id":"a","tables":${value}}`],
  cursor: ["POST", "/v1/pull", (value) => `{"app_id":"a","cursor":${value}}`],
  snapshot: ["POST", "/v1/snapshot", (value) => `{"app_id":"a","schema_versions":${value}}`],
  patch: ["PATCH", "/v1/documents/~/app/notes/n1", (value) => `{"patch":${value}}`],
  subset: [
    "POST",
    "/v1/shape?table=things&log=changes_only&offset=now",
    (value) => `{"where":"a = 1","params":${value}}`,
  ],
  "bare value": ["POST", "/v1/push", (value) => value],
};

/** What it takes to read the longest body as text and to write it out again, ms of processor. */
function leastMs(): number {
  const body = Buffer.alloc(longest, "a");
  const once = () => {
    const before = process.cpuUsage();
    Buffer.from(new TextDecoder().decode(body));
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1_000;
  };
  const [, , usual = 0] = Array.from({ length: 5 }, once).sort((a, b) => a - b);
  return usual;
}

it("no request keeps the process from everybody else for long, whatever is in it", async () => {
  const { url = "", db } = await open();
  await db.query("create table things (id int primary key, a int)");
  const perch = await perchProcess({ nodeArgs: probeArgs, env: { DATABASE_URL: url } });
  onTestFinished(() => perch.kill());
  await perch.start();
  const send = async (method: string, path: string, body: Buffer, headers: Record<string, string> = {}) => {
    const asked = request(perch.httpUrl + path, { method, headers: { authorization: "Bearer eve", ...headers } });
    asked.end(body);
    const answer = await new Promise<IncomingMessage | undefined>((resolve, reject) => {
      asked.on("response", resolve);
      // What is refused by its length is not read to its end: the connection may be gone before the answer is read.
      asked.on("error", (error: NodeJS.ErrnoException) =>
        error.code === "EPIPE" || error.code === "ECONNRESET" ? resolve(undefined) : reject(error),
      );
    });
    if (answer === undefined) return;
    let length = 0;
    for await (const chunk of answer) length += chunk.length;
    expect(length, `the answer to ${path}`).toBeLessThan(200_000);
  };

  // On a machine that is slow to hand out memory the least is more than the bound already. The pieces that came are put together before,
  // what is made of them goes on to the database behind, and all of it is memory that is given back.
  const bound = Math.max(50, 3 * leastMs());
  const slow: string[] = [];
  /** By the best of a few: a garbage collection may come at any time. */
  async function check(name: string, ask: () => Promise<void>): Promise<void> {
    const late: number[] = [];
    while (late.length < 8 && Math.min(...late) > bound) {
      await askProbe(perch);
      await ask();
      late.push((await askProbe(perch)).busiest);
    }
    if (Math.min(...late) > bound)
      slow.push(`${name}: ${late.map(Math.round).join(", ")} ms, and not ${Math.round(bound)}`);
  }

  for (const [place, [method, path, bodyOf]] of Object.entries(places)) {
    for (const [kind, value] of Object.entries(values)) {
      // All go the same way; what differs is by whom the members are read.
      if (place !== "push" && !["names", "brackets"].includes(kind)) continue;
      const isQuestion = ["pull", "cursor", "snapshot"].includes(place);
      const body = Buffer.from(
        bodyOf(value(place === "subset" ? longestSubset : isQuestion ? longestQuestion : longest)),
      );
      await check(`${place} of ${kind}`, () => send(method, path, body));
    }
  }
  const parameters = Array.from({ length: 15_000 }, (_, n) => `${n.toString(36)}=`).join("&");
  const body = Buffer.from(values.names?.(longest) ?? "");
  for (const { method, path } of Object.values(operations)) {
    const place = path.replaceAll(/\{\w+\}/g, "x");
    if (method !== "GET") await check(`${method} ${path} of names`, () => send(method, place, body));
    else if (path !== "/metrics" && path !== "/openapi.json")
      await check(`GET ${path} of parameters`, () => send(method, `${place}?${parameters}`, Buffer.alloc(0)));
  }
  await check("a cursor", () => send("GET", `/v1/changes?app_id=a&cursor=${"[".repeat(60_000)}`, Buffer.alloc(0)));
  await check("a last event id", () =>
    send("GET", "/v1/changes?app_id=a", Buffer.alloc(0), { "last-event-id": "A".repeat(60_000) }),
  );
  await check("a token", () =>
    send("POST", "/v1/pull", Buffer.from("{}"), { authorization: `Bearer ${"a.".repeat(4_000)}` }),
  );
  await check("a question that is too long", () =>
    send("POST", "/v1/pull", Buffer.from(places.pull?.[2](values.zeros?.(longest) ?? "") ?? "")),
  );
  const filters = {
    long: `a = 1${" and a = 1".repeat(7_000)}`,
    "as long as it may be": `a = 1${" and a=1".repeat(620)}`,
    "of a list as long as it may be": `a in (${"1,".repeat(2_400)}1)`,
    nested: `${"(".repeat(2_400)}a = 1${")".repeat(2_400)}`,
    "that says a part again and again": `${"(".repeat(50)}a${" between 1 and 2)::int".repeat(50)} = 1`,
    "of any within any": `${"(a = any (array[".repeat(50)}a${"]))::int".repeat(50)} = 1`,
  };
  for (const [kind, where] of Object.entries(filters)) {
    const query = new URLSearchParams({ table: "things", offset: "-1", where });
    await check(`a filter ${kind}`, () => send("GET", `/v1/shape?${query}`, Buffer.alloc(0)));
  }
  await check("slashes", () => send("GET", `/${"/".repeat(60_000)}`, Buffer.alloc(0)));
  expect(slow).toEqual([]);
}, 300_000);
