import sparticuz from "@sparticuz/chromium";
import { type Browser, chromium as driver } from "playwright-core";

/** Starts a Chromium. Out: a browser of playwright's, to be closed. Where npm's does not run, CHROMIUM_PATH names another. */
export async function launchChromium(): Promise<Browser> {
  const given = process.env.CHROMIUM_PATH;
  return driver.launch({
    executablePath: given ?? (await sparticuz.executablePath()),
    // Not the list that comes with it: that runs all in one process, which ends with the first context, and without web security.
    args: ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
    headless: true,
    timeout: 150_000,
  });
}
