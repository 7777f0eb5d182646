import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ShapeStream } from "@electric-sql/client";
import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { LoroWebsocketClient } from "loro-websocket";
import type { Page } from "playwright-core";
import { packageRoot } from "../../src/database/package-root.js";
import { startTestServer, type TestServer } from "../../src/testing.js";
import { chromiumPath, launchChromium } from "../../test/support/chromium.js";
import { exampleScreenshots } from "./example.js";
import { makeSample } from "./sample.js";
import "../support/sockets.js";

// The pictures of docs/clients.md are of the example. Those of docs/console.md: an embedded database with a small harbour's data, two people who type, and a real Chromium.

const folder = join(packageRoot, "docs", "images");
const room = "harbour/notes/pages/log-book";
const morning =
  " By eight it had turned to the south, and the glass was falling. Pier lamp two is dark again; the new one came with the ferry, and so did forty metres of rope, which is in the shed behind the winch. The life vests were counted: twenty-two, of which three want mending before anybody takes them out.";
const evening =
  "\nThe ferry was late, and took the schoolchildren in two turns. Berth 14 stays free until the third; the Dutch boat that had asked for it went on to the next harbour. At six the swell came round the breakwater. Ines has the watch until ten, then Tom. Nothing was lost but a bucket.";
const wide = { width: 1280, height: 800 };
const phone = { width: 390, height: 780 };

interface Picture {
  readonly name: string;
  readonly place: string;
  readonly sees: string;
  readonly size?: { width: number; height: number };
  readonly dark?: boolean;
  before?(page: Page): Promise<unknown>;
}

const pictures: readonly Picture[] = [
  { name: "console-now", place: "now", sees: "Written, a second", before: (page) => page.waitForTimeout(24_000) },
  {
    name: "console-space",
    place: "spaces/harbour?app=todo&table=tasks",
    sees: "task-10",
    size: { width: 1280, height: 1000 },
  },
  { name: "console-record", place: "spaces/harbour/todo/tasks/task-1", sees: "Varnish the oars" },
  { name: "console-document", place: "spaces/harbour/notes/pages/log-book/document", sees: "Log book", dark: true },
  { name: "console-set-aside", place: "set-aside", sees: "Try again" },
  { name: "console-synced", place: "synced", sees: "anchor" },
  { name: "console-thread", place: "threads/agents/run-2041", sees: "step 5", dark: true },
  { name: "console-phone", place: "spaces/harbour", sees: "Members", size: phone },
];

/** Somebody who types until told to stop. */
async function typist(server: TestServer, user: string, words: string): Promise<() => Promise<void>> {
  const doc = new LoroDoc();
  const client = new LoroWebsocketClient({ url: `${server.syncUrl}?token=${user}` });
  await client.waitConnected();
  await client.join({ roomId: room, crdtAdaptor: new LoroAdaptor(doc), auth: new TextEncoder().encode(user) });
  let typing = true;
  const done = (async () => {
    for (let n = 0; typing; n++) {
      const letter = words[n];
      // One at the end of the page, the other at the end of its first line.
      const body = doc.getText("body");
      const at = user === "ines" ? body.length : Math.max(0, body.toString().indexOf("\n"));
      if (letter !== undefined) body.insert(at, letter);
      doc.commit();
      await fetch(`${server.url}/v1/push`, {
        method: "POST",
        headers: { authorization: `Bearer ${user}` },
        body: JSON.stringify({
          app_id: "todo",
          client_id: user,
          changes: [{ op: "update", table: "tasks", id: "task-1", data: { seen: n }, space_id: "harbour" }],
        }),
      });
      await new Promise((then) => setTimeout(then, 60 + Math.random() * 120));
    }
  })();
  return async () => {
    typing = false;
    await done;
    client.destroy();
  };
}

/** Somebody who reads the boats with a filter until told to stop. */
async function shapeReader(server: TestServer, user: string, where: string): Promise<() => void> {
  const stop = new AbortController();
  const stream = new ShapeStream({
    url: `${server.url}/v1/shape`,
    params: { table: "boats", where },
    headers: { authorization: `Bearer ${user}` },
    signal: stop.signal,
  });
  await new Promise<void>((resolve, reject) => {
    stream.subscribe(() => {
      if (stream.isUpToDate) resolve();
    }, reject);
  });
  return () => stop.abort();
}

async function main(): Promise<void> {
  await mkdir(folder, { recursive: true });
  const only = process.argv[2];
  if (only !== "console") {
    const own = await launchChromium(await chromiumPath());
    await exampleScreenshots(own, folder).finally(() => own.close());
  }
  if (only === "example") return;
  const server = await startTestServer();
  await makeSample(server.db);
  const typists = [await typist(server, "ines", evening), await typist(server, "tom", morning)];
  const readers = [
    await shapeReader(server, "ines", "berth < 3"),
    await shapeReader(server, "tom", "notes ilike '%anchor%' or name ilike '%dutch%'"),
    await shapeReader(server, "vera", "notes ilike '%anchor%' or name ilike '%dutch%'"),
  ];
  const browser = await launchChromium(await chromiumPath());
  try {
    for (const { name, place, sees, size = wide, dark = false, before } of pictures) {
      const context = await browser.newContext({
        viewport: size,
        colorScheme: dark ? "dark" : "light",
        locale: "en-GB",
      });
      const page = await context.newPage();
      await page.goto(`${server.url}/console/#/${place}`);
      await page.getByText(sees).first().waitFor();
      await (before?.(page) ?? page.waitForTimeout(1_500));
      const picture = await page.screenshot({ type: "png" });
      await writeFile(join(folder, `${name}.png`), picture);
      process.stdout.write(`docs/images/${name}.png ${Math.round(picture.length / 1_000)} kB\n`);
      await context.close();
    }
  } finally {
    await browser.close();
    for (const stop of readers) stop();
    for (const stop of typists) await stop();
    await server.close();
  }
}

await main();
process.exit();
