import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { packageRoot } from "../../src/database/package-root.js";
import { freePort } from "../support/free-port.js";

const todos = [
  "Ask the neighbours about the fence",
  "Dig the bed by the wall",
  "Order seed potatoes",
  "Prune the apple tree",
];

async function signIn(
  browser: Browser,
  url: string,
  user: string,
  password: string,
  size: { viewport?: { width: number; height: number } },
) {
  const context = await browser.newContext({ viewport: { width: 900, height: 640 }, locale: "en-GB", ...size });
  const page = await context.newPage();
  await page.goto(url);
  await page.locator("[name=user]").fill(user);
  await page.locator("[name=password]").fill(password);
  await page.locator("#sign-in button").click();
  await page.locator("#app:not([hidden])").waitFor();
  return page;
}

async function enter(page: Page, form: string, text: string): Promise<void> {
  await page.locator(`${form} input`).fill(text);
  await page.locator(`${form} input`).press("Enter");
  await page.getByText(text).first().waitFor();
}

/** Two people in one project of examples/projects, as `npm run example` starts it. */
export async function exampleScreenshots(browser: Browser, folder: string): Promise<void> {
  const data = await mkdtemp(join(tmpdir(), "perch-example-"));
  const [port, perchPort] = [await freePort(), await freePort()];
  const env = { ...process.env, EXAMPLE_DATA: data, PORT: String(port), PERCH_PORT: String(perchPort) };
  const started = spawn(process.execPath, [join(packageRoot, "examples", "projects", "start.js")], { env });
  try {
    await new Promise<void>((resolve, reject) => {
      started.stdout.on("data", (text: Buffer) => String(text).includes("The app:") && resolve());
      started.once("exit", (code) => reject(new Error(`the example ended with ${code}`)));
    });
    const url = `http://127.0.0.1:${port}`;
    const ada = await signIn(browser, url, "ada", "lovelace", {});
    await enter(ada, "#new-project", "Garden");
    for (const title of todos) await enter(ada, "#new-todo", title);
    await ada.locator("#todos input").nth(2).check();
    await ada.getByText("everything is saved").waitFor();
    await ada.locator("#invite").click();
    const link = await ada.locator("#link", { hasText: "invitation" }).textContent();
    const bob = await signIn(browser, link ?? url, "bob", "marley", { viewport: { width: 390, height: 780 } });
    await bob.locator("#todos li").nth(3).waitFor();
    await ada
      .locator("#note .cm-content")
      .pressSequentially("Potatoes go where the beans were.\nThe fence is ours as far as the gate; ");
    await bob.getByText("The fence is ours").waitFor();
    await bob.locator("#note .cm-content").press("Control+Home");
    await bob.locator("#note .cm-content").press("End");
    await bob.locator("#note .cm-content").pressSequentially(" Early ones first.");
    await ada.locator("#note .caret[data-name=bob]").waitFor();
    await ada.getByText("Early ones first.").waitFor();
    for (const [name, page] of [
      ["example", ada],
      ["example-phone", bob],
    ] as const) {
      const picture = await page.screenshot({ type: "png" });
      await writeFile(join(folder, `${name}.png`), picture);
      process.stdout.write(`docs/images/${name}.png ${Math.round(picture.length / 1_000)} kB\n`);
      await page.context().close();
    }
  } finally {
    started.kill("SIGINT");
    if (started.exitCode === null) await once(started, "exit");
    await rm(data, { recursive: true, force: true });
  }
}
