import sparticuz from "@sparticuz/chromium";
import { type Browser, chromium as driver } from "playwright-core";

/** Unpacks npm's Chromium, unless it is there; not for two at once. Where it does not run, CHROMIUM_PATH names another. Out: the program. */
export const chromiumPath = async (): Promise<string> =>
  process.env.CHROMIUM_PATH ?? (await sparticuz.executablePath());

/** Starts a Chromium. In: see `chromiumPath`. Out: a browser of playwright's, to be closed. */
export function launchChromium(executablePath: string): Promise<Browser> {
  return driver.launch({
    executablePath,
    // Not the list that comes with it: that runs all in one process, which ends with the first context, and without web security.
    args: ["--no-sandbox", "--disable-gpu", "--font-render-hinting=none"],
    headless: true,
    timeout: 150_000,
  });
}
