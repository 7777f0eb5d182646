import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { cleanup, until } from "../gateway/support.js";
import { readExamples } from "../log/guide.js";
import { chromium } from "../support/browser.js";
import { postgres } from "../support/databases.js";
import { runProgram } from "../support/processes.js";
import { serving } from "../support/serving.js";

const browser = chromium();
const open = postgres();

it("the list of docs/clients.md in React shows what others write, and what is typed into it", async () => {
  const page = await readFile(join(packageRoot, "docs", "clients.md"), "utf8");
  const [example, ...others] = readExamples(page, ["tsx"]).filter(({ language }) => language === "tsx");
  expect(others).toEqual([]);
  const t = await open();
  const node = await serving({ url: t.url ?? "" });
  const folder = join(packageRoot, ".tsbuild", `react-${process.pid}`);
  cleanup(() => rm(folder, { recursive: true, force: true }));
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "index.html"), '<div id="root"></div><script type="module" src="./main.tsx"></script>');
  await writeFile(join(folder, "main.tsx"), example?.text.replace("http://127.0.0.1:4466", node.gateway.url) ?? "");
  const client = join(packageRoot, "src", "client");
  const paths = {
    "perch/client": [join(client, "index.ts")],
    "perch/tanstack": [join(client, "tanstack", "index.ts")],
    "@tanstack/db": [join(packageRoot, "node_modules", "@tanstack", "db", "dist", "esm", "index.d.ts")],
  };
  const compilerOptions = { jsx: "react-jsx", lib: ["ES2022", "DOM", "DOM.Iterable"], paths };
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: join(packageRoot, "tsconfig.json"), compilerOptions, include: ["main.tsx"] }),
  );
  const tsc = await runProgram(join(packageRoot, "node_modules", ".bin", "tsc"), ["-p", folder, "--noEmit"]);
  expect(tsc.stdout).toBe("");

  const { build, preview } = await import("vite");
  const outDir = join(folder, "out");
  await build({
    root: folder,
    configFile: false,
    logLevel: "error",
    build: { outDir },
    resolve: {
      dedupe: ["@tanstack/db"],
      alias: { "perch/client": join(client, "index.ts"), "perch/tanstack": join(client, "tanstack", "index.ts") },
    },
  });
  const server = await preview({
    root: folder,
    configFile: false,
    logLevel: "silent",
    build: { outDir },
    preview: { port: 0, host: "127.0.0.1" },
  });
  cleanup(() => server.close());

  const tab = await browser.page();
  await tab.goto(server.resolvedUrls?.local[0] ?? "");
  const list = () => tab.locator("li").allTextContents();
  await tab.locator("form").waitFor();
  expect(await list()).toEqual([]);
  const change = { op: "insert", table: "tasks", id: "t2", data: { title: "Buy milk" } };
  await node.call("ada", "POST", "/v1/push", { app_id: "todo", changes: [change], client_id: "phone" });
  await until(async () => (await list()).some((text) => text.includes("Buy milk")), "what another device wrote");
  await tab.locator("[name=title]").fill("Buy bread");
  await tab.locator("[name=title]").press("Enter");
  await until(async () => (await list()).length === 2, "what was typed");
  await tab.locator("li").filter({ hasText: "Buy milk" }).locator("input").check();
  await until(async () => {
    const rows = await t.db.query<{ data: { title?: string; done?: boolean } }>(
      "select data from perch.records where app_id = 'todo' and table_name = 'tasks' order by data ->> 'title'",
    );
    return JSON.stringify(rows.map(({ data }) => [data.title, data.done])) === '[["Buy bread",null],["Buy milk",true]]';
  }, "the server to have it");
  expect(tab.errors).toEqual([]);
});
