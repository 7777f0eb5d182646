import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { SignJWT } from "jose";
import { LoroAdaptor } from "loro-adaptors/loro";
import { LoroDoc } from "loro-crdt";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { makeSample } from "../../scripts/screenshots/sample.js";
import { type Serving, serve } from "../../src/cli/serve.js";
import { serveSettings } from "../../src/cli/settings.js";
import { migrate } from "../../src/database/migrate.js";
import { packageRoot } from "../../src/database/package-root.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { officialClient, text } from "../gateway/support.js";
import { chromium, type WatchedPage } from "../support/browser.js";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.js";
import { until } from "../support/until.js";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const secret = "0123456789abcdef0123456789abcdef";

const token = (user: string, role: string) =>
  new SignJWT({ perch_role: role })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(user)
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));

/** Every view, and what is seen in it when it has come. */
const places: readonly (readonly [place: string, sees: string])[] = [
  ["now", "more that are well"],
  ["spaces", "harbour"],
  ["spaces/harbour?app=todo&table=tasks", "task-10"],
  ["spaces/harbour/todo/tasks/task-1", "Varnish the oars"],
  ["spaces/harbour/notes/pages/log-book/document", "Wind from the west"],
  ["set-aside", "Try again"],
  ["synced", "every change is captured"],
  ["threads", "run-2041"],
  ["threads/agents/run-2041", "the harbour master"],
];

describe("the console in a browser", () => {
  const browser = chromium();
  let server: PostgresServer;
  let db: Database;
  let node: Serving;

  beforeAll(async () => {
    server = await startPostgresServer();
    db = openPostgres({ url: server.url(), onError: () => undefined });
    await migrate(db);
    node = await start();
    await makeSample(db);
    await until(async () => {
      const [row] = await db.query<{ n: number }>(
        "select count(*) as n from perch.document_inbox where status = 'rejected'",
      );
      return row?.n === 1;
    }, "the update that is none is set aside");
  });

  afterAll(async () => {
    await node.close();
    await db.close();
    await server.close();
  });

  const start = (env: Record<string, string> = {}) =>
    serve(db, serveSettings({ development: true }, { PERCH_PORT: "0", ...env }), pino({ level: "silent" }));

  const open = async (
    place: string,
    options: Parameters<typeof browser.page>[0] = {},
    at = node,
  ): Promise<WatchedPage> => {
    const page = await browser.page(options);
    await page.addInitScript(axe);
    await page.goto(`${at.gateway.url}/console/#/${place}`);
    return page;
  };

  /** What keeps somebody out, as axe finds it. */
  const serious = async (page: WatchedPage) => {
    const { violations } = (await page.evaluate("axe.run()")) as {
      violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[];
    };
    return violations
      .filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => [id, nodes[0]?.html, nodes[0]?.failureSummary]);
  };

  const sees = (page: WatchedPage, words: string) => page.getByText(words).first().waitFor();

  const push = async (id: string, data: object, user = "ines"): Promise<void> => {
    const change = { op: "insert", table: "tasks", id, data, space_id: "harbour" };
    const response = await fetch(`${node.gateway.url}/v1/push`, {
      method: "POST",
      headers: { authorization: `Bearer ${user}` },
      body: JSON.stringify({ app_id: "todo", client_id: "laptop-c31d", changes: [change] }),
    });
    expect(response.status).toBe(200);
  };

  /** Somebody with the log book open. */
  const typist = async (user: string) => {
    const doc = new LoroDoc();
    const client = officialClient({ url: node.gateway.url.replace("http", "ws") }, { token: user });
    await client.waitConnected();
    await client.join({ roomId: "harbour/notes/pages/log-book", crdtAdaptor: new LoroAdaptor(doc), auth: text(user) });
    return (letters: string) => {
      const body = doc.getText("body");
      body.insert(body.length, letters);
      doc.commit();
    };
  };

  it.each(["light", "dark"] as const)(
    "shows every view, and nothing in them that keeps anybody out, in %s colours",
    async (colorScheme) => {
      const page = await open("now", { colorScheme });
      for (const [place, words] of places) {
        await page.goto(`${node.gateway.url}/console/#/${place}`);
        await sees(page, words);
        expect({ place, serious: await serious(page) }).toEqual({ place, serious: [] });
      }
      expect(page.errors).toEqual([]);
    },
  );

  it("fits on a phone", async () => {
    const page = await open("now", { viewport: { width: 360, height: 740 }, hasTouch: true });
    for (const [place, words] of places) {
      await page.goto(`${node.gateway.url}/console/#/${place}`);
      await sees(page, words);
      const over = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      expect({ place, over }).toEqual({ place, over: 0 });
    }
  });

  it("is used by keyboard", async () => {
    const page = await open("spaces");
    await sees(page, "harbour");
    const focused = () => page.evaluate("document.activeElement.textContent");
    await page.keyboard.press("Tab");
    expect(await focused()).toContain("To the content");
    await page.getByRole("searchbox").focus();
    await page.keyboard.type("harb");
    await expect.poll(() => page.getByRole("row").count()).toBe(2);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    expect(await focused()).toBe("harbour");
    await page.keyboard.press("Enter");
    await sees(page, "Who sees this?");
  });

  it("shows what two people type, and who they are", async () => {
    const page = await open("spaces/harbour/notes/pages/log-book/document");
    await sees(page, "Wind from the west");
    const [ines, tom] = [await typist("ines"), await typist("tom")];
    // Tom first: what ines adds to what she wrote within a minute is one version with that.
    tom("\nRope came, 40 metres.");
    await sees(page, "Rope came, 40 metres.");
    ines("\nThe ferry came at nine.");
    await sees(page, "The ferry came at nine.");
    await expect.poll(() => page.locator(".facts").textContent()).toMatch(/There now(ines, tom|tom, ines)/);
    // What it was before, and what was put in since.
    await page.locator(".versions button").last().click();
    await sees(page, "as it was at");
    await expect.poll(() => page.locator(".content").textContent()).not.toContain("ferry");
    await page.getByText("Now, as people type").click();
    // None are there until the positions have come, and which there are changes as they are put together.
    await expect
      .poll(async () => {
        const positions = await page.locator("select option").count();
        await page.locator("select").selectOption({ index: positions - 1 });
        return page.locator("ins").allTextContents();
      })
      .toEqual([expect.stringContaining("The ferry came at nine.")]);
    // Gone back to: an edit like any other, which people who have it open see.
    await page.locator(".versions button").last().click();
    await page.getByRole("button", { name: "Go back to this" }).click();
    await sees(page, "Now, as people type");
    await expect.poll(() => page.locator(".content").textContent()).not.toContain("ferry");
    await expect.poll(() => page.locator(".title").textContent()).toContain("live");
    const [kept] = await db.query(
      "select user_id, subject ->> 'id' as id from perch.console_actions where action = 'revert'",
    );
    expect(kept).toEqual({ user_id: "developer", id: "log-book" });
    expect(page.errors).toEqual([]);
  });

  it("shows the log as it happens, by whom one asks for, and goes on after the database was away", async () => {
    const page = await open("spaces/harbour");
    await sees(page, "Members");
    await push("live-1", { title: "Seen at once" });
    await sees(page, "tasks/live-1");
    await page.getByLabel("User", { exact: true }).fill("tom");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.getByText("tasks/live-1").count()).toBe(0);
    await push("live-2", { title: "From tom" }, "tom");
    await sees(page, "tasks/live-2");

    await server.stop();
    await sees(page, "The database does not answer");
    await server.start();
    await expect.poll(() => page.locator(".banner").count()).toBe(0);
    await until(() => push("live-3", { title: "After it" }, "tom").then(() => true), "perch takes pushes again");
    await sees(page, "tasks/live-3");
  });

  it("explains why somebody sees a record, or does not", async () => {
    const page = await open("spaces/harbour/todo/tasks/task-1");
    const ask = async (user: string, says: string) => {
      await page.getByPlaceholder("A user’s id").fill(user);
      await page.getByRole("button", { name: "Explain" }).click();
      await sees(page, says);
    };
    await ask("vera", "vera is viewer of this space");
    await ask("mallory", "mallory is no member of this space");
    await ask("tom", "tom is editor of this space");
  });

  it("shows which filters of shapes are slow, and who waits for a table", async () => {
    await db.query("create table public.tides (id int primary key, note text)");
    await db.query("insert into public.tides select n, md5(n::text) from generate_series(1, 50000) n");
    await db.query("select perch.sync_table(relation => 'public.tides', app_id => 'harbour', space_id => 'harbour')");
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const ask = (query: Record<string, string>) =>
      fetch(`${node.gateway.url}/v1/shape?${new URLSearchParams({ table: "tides", ...query })}`, {
        headers: { authorization: "Bearer ines" },
        signal: stop.signal,
      });
    const where = Array.from({ length: 12 }, (_, n) => `note ~ '^[0-9]+x${n}.*q$'`).join(" or ");
    const first = await ask({ offset: "-1", where });
    expect(await first.text()).toContain("snapshot-end");
    const [handle, offset] = ["electric-handle", "electric-offset"].map((name) => first.headers.get(name) ?? "");
    const page = await open("synced", { viewport: { width: 360, height: 740 } });
    await sees(page, "note ~");
    await sees(page, "0 readers waiting");
    ask({ where, handle: `${handle}`, offset: `${offset}`, live: "true" }).catch(() => undefined);
    await sees(page, "1 reader waiting");
    expect(await serious(page)).toEqual([]);
    expect(await page.evaluate("document.documentElement.scrollWidth - innerWidth")).toBe(0);
  });

  it("compares the states of an agent", async () => {
    const page = await open("threads/agents/run-2041");
    await sees(page, "the harbour master");
    await page.locator(".tree-rows").getByText("step 4").last().click();
    await sees(page, "Berth 14 is free from the 3rd.");
    await expect.poll(() => page.locator(".added").allTextContents()).toContain("480");
  });

  it("lets a viewer look and an admin act, and nobody else in", async () => {
    const guarded = await start({ PERCH_JWT_SECRET: secret });
    onTestFinished(() => guarded.close());
    const page = await open("set-aside", {}, guarded);
    const signIn = async (given: string) => {
      await page.getByLabel("Token").fill(given);
      await page.getByRole("button", { name: /Sign in/ }).click();
    };
    await signIn(await token("eve", "nobody"));
    await sees(page, "the console is for tokens with the claim perch_role");
    // A page that is loaded again before it was answered has signed nobody in.
    const signedIn = () => page.getByLabel("Token").waitFor({ state: "detached" });
    await signIn(await token("vic", "viewer"));
    await signedIn();
    await page.goto(`${guarded.gateway.url}/console/#/set-aside`);
    await sees(page, "log-book");
    expect(await page.getByRole("button", { name: "Try again" }).count()).toBe(0);
    await page.getByRole("button", { name: "Sign out" }).click();
    await signIn(await token("root", "admin"));
    await signedIn();
    await page.goto(`${guarded.gateway.url}/console/#/set-aside`);
    await page.getByRole("button", { name: "Try again" }).click();
    // It fails for the same reason, and is set aside again.
    await until(async () => {
      const [row] = await db.query<{ tried: boolean }>(
        `select exists (select from perch.console_actions where action = 'retry' and user_id = 'root')
            and exists (select from perch.document_inbox where status = 'rejected') as tried`,
      );
      return row?.tried;
    }, "the update is tried, and set aside again");
    await page.reload();
    await page.getByRole("button", { name: "Discard…" }).click();
    await page.getByRole("button", { name: "Discard for good" }).click();
    await sees(page, "Nothing was set aside");
    await page.goto(`${guarded.gateway.url}/console/#/now`);
    await sees(page, "Done in the console");
    await expect.poll(() => page.getByText("root").count()).toBeGreaterThan(1);
  });

  it("goes where one goes before its first picture", async () => {
    const guarded = await start({ PERCH_JWT_SECRET: secret });
    onTestFinished(() => guarded.close());
    const page = await browser.page();
    // No picture is ever made: Preact waits for one, but not for long.
    await page.addInitScript("window.requestAnimationFrame = () => 0");
    await page.goto(`${guarded.gateway.url}/console/`);
    await page.getByLabel("Token").fill(await token("vic", "viewer"));
    await page.evaluate(`(async () => {
      document.querySelector("form button").click();
      while (document.querySelector("form")) await Promise.resolve();
      location.hash = "#/set-aside";
    })()`);
    await page.getByRole("heading", { name: "Set aside" }).waitFor({ timeout: 30_000 });
  });

  it("runs nothing that a record, a document, a name or a refusal holds", async () => {
    const marks = [
      "<img src=x onerror=ran()>",
      "<script>ran()</script>",
      "javascript:ran()",
      "{{constructor.constructor('ran()')()}}",
    ];
    const evil = marks.join(" ");
    const record = `"><svg/onload=ran()>/../#`;
    await push(
      record,
      { [evil]: evil, href: "javascript:ran()", nested: { __proto__: { a: evil }, constructor: evil } },
      "ines",
    );
    await db.transaction(async (tx) => {
      await tx.query("select perch.set_context(user_id => $1)", [`${marks[0]}`]);
      await tx.query(
        `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1, patch => jsonb_build_object('title', $2::text, 'body', $2::text))`,
        [record, evil],
      );
    });
    await db.query(
      `insert into perch.document_inbox (space_id, app_id, table_name, record_id, seq, kind, patch, user_id, status, error)
       values ('harbour', 'notes', 'pages', 'evil', 1, 'patch', jsonb_build_object('title', $1::text), 'ines', 'rejected',
               jsonb_build_object('code', $1::text, 'message', $1::text, 'detail', $1::text))`,
      [evil],
    );
    const page = await browser.page();
    const asked = new Set<string>();
    page.on("request", (request) => asked.add(new URL(request.url()).origin));
    page.on("dialog", (dialog) => void dialog.dismiss());
    await page.addInitScript("globalThis.runs = 0; globalThis.ran = () => { runs += 1 }");
    const own = encodeURIComponent(`~${marks[0]}`);
    const name = encodeURIComponent(record);
    for (const [place, words] of [
      [`spaces/harbour?app=todo&table=tasks`, record],
      [`spaces/harbour/todo/tasks/${name}`, "javascript:ran()"],
      [`spaces/${own}`, marks[0] as string],
      [`spaces/${own}/notes/pages/${name}/document`, "<script>ran()</script>"],
      ["set-aside", "<script>ran()</script>"],
      [`threads/${own}/${name}`, "there is no such thread"],
      [`spaces/javascript:ran()/${name}`, "javascript:ran()"],
    ] as const) {
      await page.goto(`${node.gateway.url}/console/#/${place}`);
      await sees(page, words);
      for (const link of await page.getByRole("link").all()) expect(await link.getAttribute("href")).toMatch(/^#/);
    }
    expect(await page.evaluate("runs")).toBe(0);
    expect([...asked]).toEqual([node.gateway.url]);
    expect(page.errors.filter((each) => !each.includes("404"))).toEqual([]);

    const { headers } = await fetch(`${node.gateway.url}/console/`);
    expect(headers.get("content-security-policy")).toMatch(/default-src 'none'; script-src 'self'; style-src 'self'/);
    expect(headers.get("content-security-policy")).not.toContain("unsafe");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
  });

  it("keeps the colours that were chosen", async () => {
    const page = await open("spaces", { colorScheme: "light" });
    await sees(page, "harbour");
    const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const light = await ground();
    await page.getByLabel("Dark").check({ force: true });
    expect(await ground()).not.toBe(light);
    await page.reload();
    await sees(page, "harbour");
    expect(await ground()).not.toBe(light);
  });
});

it("the console is at most 150 kB on the wire", async () => {
  const folder = join(packageRoot, "dist", "console");
  const names = await readdir(folder, { recursive: true });
  const files = await Promise.all(
    names.filter((name) => name.includes(".")).map((name) => readFile(join(folder, name))),
  );
  const bytes = files.reduce((sum, file) => sum + gzipSync(file).length, 0);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(150_000);
});
