/**
 * A real Chromium for tests, out of npm: headless, without a sandbox of its own (which containers refuse), and without a network beyond
 * this machine.
 *
 *   const browser = chromium();                       // in a describe, or at the top of a file
 *   it("shows what was typed", async () => {
 *     const page = await browser.page();              // a page in a context of its own, closed after the test
 *     await page.goto(`${node.url}/console/`);
 *     expect(page.errors).toEqual([]);
 *   });
 *
 * One browser for a file, started when the first test asks, ended with the file. Each page notes what went wrong in it.
 */
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, onTestFinished } from "vitest";
import { launchChromium } from "./chromium.js";
import { template } from "./databases.js";

/** A page, and what went wrong in it: errors nobody caught, what was written to console.error, what its policy refused. */
export type WatchedPage = Page & { readonly errors: string[] };

export interface Chromium {
  /** A page in a context of its own: storage and cache are nobody else's. Closed after the test. */
  page(options?: BrowserContextOptions): Promise<WatchedPage>;
}

/** Notes what goes wrong in a page. */
export function watched(page: Page): WatchedPage {
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(`uncaught: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(message.text());
  });
  return Object.assign(page, { errors });
}

/** The browser of a test file. */
export function chromium(): Chromium {
  let starting: Promise<Browser> | undefined;
  afterAll(async () => {
    await (await starting)?.close();
  });
  return {
    async page(options) {
      // Several files that unpack it at once would write over each other's.
      starting ??= template("chromium").then(launchChromium);
      const context = await (await starting).newContext(options);
      onTestFinished(() => context.close());
      // Nearly as long as a test may take: how fast the machine is decides nothing.
      context.setDefaultTimeout(150_000);
      return watched(await context.newPage());
    },
  };
}
