import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { freePort } from "../../scripts/support/free-port.js";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { packageRoot } from "../../src/database/package-root.js";
import { cleanup, until } from "../gateway/support.js";
import { chromium, type WatchedPage, watched } from "../support/browser.js";
import { postgres } from "../support/databases.js";
import { environment } from "../support/processes.js";

const browser = chromium();
const open = postgres();
const example = join(packageRoot, "examples", "projects");

/** The app of examples/projects, built, before a perch of its own on Postgres. */
async function startExample() {
  const t = await open();
  await t.db.query(`do $do$ begin execute $sql$${await readFile(join(example, "schema.sql"), "utf8")}$sql$; end $do$`);
  const secret = "only tests know this secret of many characters";
  const perch = await perchProcess({ env: { DATABASE_URL: t.url ?? "", PERCH_JWT_SECRET: secret } });
  cleanup(() => perch.kill());
  await perch.start();
  // The app's back end reads them from its environment.
  Object.assign(process.env, { PERCH_JWT_SECRET: secret, PERCH_PORT: new URL(perch.httpUrl).port });
  cleanup(() => {
    delete process.env.PERCH_JWT_SECRET;
    delete process.env.PERCH_PORT;
  });
  const outDir = await mkdtemp(join(tmpdir(), "perch-example-"));
  cleanup(() => rm(outDir, { recursive: true, force: true }));
  const { build, preview } = await import("vite");
  const configFile = join(example, "vite.config.js");
  await build({ configFile, logLevel: "error", build: { outDir } });
  const server = await preview({
    configFile,
    logLevel: "silent",
    build: { outDir },
    preview: { port: await freePort(), host: "127.0.0.1", strictPort: true },
  });
  cleanup(() => server.close());
  return { t, perch, url: server.resolvedUrls?.local[0]?.replace(/\/$/, "") ?? "" };
}

const titles = (page: WatchedPage) => page.locator("#todos li").allTextContents();
const note = async (page: WatchedPage) => (await page.locator("#note .cm-content").textContent()) ?? "";
const isSaved = async (page: WatchedPage) => (await page.locator("#state").textContent()) === "everything is saved";

async function signIn(page: WatchedPage, url: string, name: string, password: string): Promise<void> {
  await page.goto(url);
  await page.locator("[name=user]").fill(name);
  await page.locator("[name=password]").fill(password);
  await page.locator("#sign-in button").click();
  await page.locator("#app:not([hidden])").waitFor();
}

async function addTodo(page: WatchedPage, title: string): Promise<void> {
  await page.locator("#new-todo input").fill(title);
  await page.locator("#new-todo input").press("Enter");
  // Whatever the network does.
  await page.locator("#todos li").filter({ hasText: title }).waitFor();
}

/** Types as a person does, at the end of what is there. */
async function type(page: WatchedPage, words: string): Promise<void> {
  await page.locator("#note .cm-content").press("Control+End");
  await page.locator("#note .cm-content").pressSequentially(words);
}

/** How many pieces a database of the device holds. */
const keptPieces = (page: WatchedPage, name: string) =>
  page.evaluate<number>(`new Promise((resolve, reject) => {
    const asked = indexedDB.open("${name}");
    asked.onerror = () => reject(asked.error);
    asked.onsuccess = () => {
      const count = asked.result.transaction("transactions").objectStore("transactions").count();
      count.onsuccess = () => resolve(count.result);
    };
  })`);

const letters = (text: string) =>
  [...text]
    .filter((each) => each !== " ")
    .sort()
    .join("");

it("two people write at once, offline for a while, over closed tabs and two deaths of the server: both end with the same, and nothing is lost", async () => {
  const { t, perch, url } = await startExample();
  const [ada, bob] = [await browser.page(), await browser.page()];

  await signIn(ada, url, "ada", "lovelace");
  await ada.locator("#new-project input").fill("Garden");
  await ada.locator("#new-project input").press("Enter");
  await ada.locator("#projects a").getByText("Garden").waitFor();
  await addTodo(ada, "dig");
  await until(() => isSaved(ada));
  await ada.locator("#invite").click();
  const link = await until(() => ada.locator("#link").textContent());
  await signIn(bob, link, "bob", "marley");
  await until(async () => (await titles(bob)).length === 1);

  // At once, both in the note and in the list; and the server dies under them.
  await Promise.all([type(ada, "Ada was here. "), type(bob, "So was Bob. "), perch.kill()]);
  await Promise.all([addTodo(ada, "plant"), addTodo(bob, "water")]);
  await bob.locator("#todos li").filter({ hasText: "dig" }).locator("input").check();
  await perch.start();
  await until(async () => (await note(ada)) === (await note(bob)) && (await titles(ada)).length === 3);
  // Each sees where the other is in the note.
  await ada.locator("#note .caret[data-name=bob]").waitFor({ state: "attached" });
  await bob.locator("#note .caret[data-name=ada]").waitFor({ state: "attached" });

  // Both offline. Ada closes her tab meanwhile, and Bob one of two, and the server dies again.
  const bobsOther = watched(await bob.context().newPage());
  await bobsOther.goto(bob.url());
  await until(async () => (await titles(bobsOther)).length === 3);
  const before = await keptPieces(ada, "notes/ada");
  await Promise.all([ada.context().setOffline(true), bob.context().setOffline(true)]);
  await Promise.all([type(ada, "On the train. "), type(bob, "In the field. ")]);
  await addTodo(ada, "weed");
  await addTodo(bob, "harvest");
  await addTodo(bobsOther, "rake");
  await until(async () => (await bobsOther.locator("#state").textContent()) === "1 to be sent");
  await bobsOther.close();
  await until(async () => (await keptPieces(ada, "notes/ada")) > before);
  await until(async () => (await ada.locator("#state").textContent()) === "1 to be sent");
  const adasContext = ada.context();
  await ada.close();
  await perch.kill();
  await adasContext.setOffline(false);
  // Opened again while the server is down, her tab shows the rows that were there, and what waits.
  const again = watched(await adasContext.newPage());
  await again.goto(url);
  await again.locator("#projects a").getByText("Garden").click();
  await until(async () => (await titles(again)).length === 4);
  await perch.start();
  await bob.context().setOffline(false);

  const words = ["Ada was here.", "So was Bob.", "On the train.", "In the field."];
  await until(async () => {
    const [hers, his] = [await note(again), await note(bob)];
    return hers === his && letters(hers) === letters(words.join(""));
  });
  await until(async () => (await titles(again)).length === 6 && (await titles(bob)).length === 6);
  await until(async () => (await isSaved(again)) && (await isSaved(bob)));

  // What is done is archived by a function of the app's, and leaves both devices.
  await again.locator("#archive").click();
  await until(async () => (await titles(bob)).length === 5);
  expect(await titles(again)).toEqual(await titles(bob));
  const rows = await t.db.query("select title, written_by, archived from todos order by title");
  expect(rows).toEqual([
    { title: "dig", written_by: "ada", archived: true },
    { title: "harvest", written_by: "bob", archived: false },
    { title: "plant", written_by: "ada", archived: false },
    { title: "rake", written_by: "bob", archived: false },
    { title: "water", written_by: "bob", archived: false },
    { title: "weed", written_by: "ada", archived: false },
  ]);
  await until(async () => {
    const [row] = await t.db.query<{ body: string }>(
      "select data ->> 'body' as body from perch.records where table_name = 'notes'",
    );
    return row?.body === (await note(bob));
  });
  expect(await bob.locator("#refused li").count()).toBe(0);
  // What else there is are requests that found no network.
  const uncaught = [...ada.errors, ...bob.errors, ...again.errors].filter((each) => each.startsWith("uncaught"));
  expect(uncaught).toEqual([]);

  // Signed out, the device holds nothing.
  await again.locator("#sign-out").click();
  await again.locator("#sign-in:not([hidden])").waitFor();
  expect(await again.evaluate("localStorage.length")).toBe(0);
  expect(await keptPieces(again, "notes/ada")).toBe(0);
  expect(await keptPieces(again, "projects/ada")).toBe(0);
});

it("npm run example starts it, and Ctrl-C ends it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "perch-example-"));
  cleanup(() => rm(folder, { recursive: true, force: true }));
  const [port, perchPort] = [await freePort(), await freePort()];
  const env = { ...environment(), EXAMPLE_DATA: folder, PORT: String(port), PERCH_PORT: String(perchPort) };
  const started = spawn(process.execPath, [join(example, "start.js")], { env, detached: true });
  // With the perch that it started, should it not end by itself.
  cleanup(() => started.exitCode === null && process.kill(-(started.pid ?? 0), "SIGKILL"));
  let output = "";
  for (const stream of [started.stdout, started.stderr]) {
    stream.on("data", (text) => {
      output += text;
    });
  }
  await until(() => output.includes("The app:"), "the app's address");
  const url = `http://127.0.0.1:${port}`;
  expect(await (await fetch(url)).text()).toContain("<title>Projects</title>");
  const asked = (password: string) => ({ method: "POST", body: JSON.stringify({ user: "ada", password }) });
  expect((await fetch(`${url}/sign-in`, asked("guess"))).status).toBe(403);
  const token = await (await fetch(`${url}/sign-in`, asked("lovelace"))).text();
  const headers = { authorization: `Bearer ${token}` };
  expect((await fetch(`${url}/v1/shape?table=projects&offset=-1`, { headers })).status).toBe(200);
  started.kill("SIGINT");
  expect(await once(started, "exit")).toEqual([0, null]);
});
