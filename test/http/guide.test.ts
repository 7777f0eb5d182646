import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { addEngineFigures, addWorkerFigures } from "../../src/gateway/index.js";
import { startWorker } from "../../src/worker/index.js";
import { cleanup, startNode, until } from "../gateway/support.js";
import { withoutMoments } from "../log/guide.js";
import { readBlocks } from "../support/blocks.js";
import { pglite } from "../support/databases.js";
import { openEvents } from "./support.js";

/** However slow the machine is. */
const patient = { PERCH_MERGE_PATIENCE_MS: "60000" };
const open = pglite();
const page = await readFile(join(packageRoot, "docs", "http.md"), "utf8");

/** The words of a shell command: bare, or in single quotes, with lines continued by a backslash. */
const wordsOf = (command: string) =>
  [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? "");

/** What curl does with the few options that the page uses. Out: the body. */
async function curl(command: string, url: string): Promise<unknown> {
  const [program, ...words] = wordsOf(command);
  expect(program).toBe("curl");
  const headers: Record<string, string> = {};
  let target = "";
  let body: string | undefined;
  let method: string | undefined;
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (word === "-H") {
      const [, name = "", value = ""] = /^([^:]+): (.*)$/.exec(words.shift() ?? "") ?? [];
      headers[name] = value;
    } else if (word === "-d") body = words.shift();
    else if (word === "-X") method = words.shift();
    else target = word.replace("http://127.0.0.1:4466", url);
  }
  const response = await fetch(target, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers,
    ...(body !== undefined && { body }),
  });
  return response.json();
}

/** As much of the browser's EventSource as the page uses. */
function eventSourceOf(node: { gateway: { url: string } }) {
  return class {
    readonly #listeners = new Map<string, (event: { data: string; lastEventId: string }) => void>();
    constructor(url: string) {
      void this.#read(new URL(url).search.slice(1));
    }
    addEventListener(type: string, listener: (event: { data: string; lastEventId: string }) => void) {
      this.#listeners.set(type, listener);
    }
    async #read(query: string) {
      const stream = await openEvents(node, query, { token: "ada" });
      for (;;) {
        const event = await stream.next().catch(() => undefined);
        if (event === undefined) return;
        this.#listeners.get(event.event)?.({ data: JSON.stringify(event.data), lastEventId: event.id });
      }
    }
  };
}

/** Sizes and revisions differ from run to run as times do. */
const sizeAsText = (key: string, value: unknown) =>
  key === "bytes" || (key === "revision" && value !== null) ? String(value) : value;

it("docs/http.md shows what happens", async () => {
  const t = await open();
  const node = await startNode(t, { env: patient });
  const worker = await startWorker({ db: t.db, live: node.live });
  cleanup(() => worker.close());
  let last: unknown;
  let results = 0;
  const seen: string[] = [];
  const problems: string[] = [];
  for (const { language, text, line } of readBlocks(page, ["sql", "sh", "js", "json"])) {
    if (language === "sql") await t.db.query(text.trim().replace(/;$/, ""));
    else if (language === "sh") {
      for (const command of text.split(/^(?=curl )/m)) last = await curl(command.trim(), node.gateway.url);
    } else if (language === "js") {
      const run = new Function("EventSource", "seen", "problems", text);
      run(eventSourceOf(node), seen, problems);
      await until(() => seen.length === 1);
    } else {
      const wanted = JSON.parse(text);
      const found = withoutMoments(JSON.parse(JSON.stringify(last), sizeAsText), wanted);
      expect({ line, found }).toEqual({ line, found: wanted });
      results += 1;
    }
  }
  expect(results).toBe(14);
  expect({ seen, problems }).toEqual({ seen: ["t1"], problems: [] });
});

it("docs/http.md lists every metric, and no other", async () => {
  const t = await open();
  const node = await startNode(t);
  const worker = await startWorker({ db: t.db, live: node.live });
  cleanup(() => worker.close());
  addEngineFigures(node.gateway.metrics, node.engine);
  addWorkerFigures(node.gateway.metrics, worker);
  const text = await (await fetch(`${node.gateway.url}/metrics`)).text();
  const served = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`);
  const listed = [...page.matchAll(/^\| `(\w+)`[^|]*\| (counter|gauge|histogram) \|/gm)].map(
    ([, name, type]) => `${name} ${type}`,
  );
  expect([...listed].sort()).toEqual([...served].sort());
});
