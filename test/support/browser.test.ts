import { expect, it } from "vitest";
import { chromium } from "./browser.js";

const browser = chromium();

it("runs what a page brings, and notes what goes wrong in it", async () => {
  const page = await browser.page();
  await page.setContent("<title>one</title><p id=p></p><script>p.textContent = [1, 2].at(-1)</script>");
  expect(await page.title()).toBe("one");
  expect(await page.textContent("p")).toBe("2");
  expect(page.errors).toEqual([]);
  await page.evaluate(() => {
    setTimeout(() => {
      throw new Error("late");
    });
  });
  await expect.poll(() => page.errors).toEqual(["uncaught: late"]);
});

it("gives each page storage of its own", async () => {
  const [one, other] = [await browser.page(), await browser.page()];
  await one.context().addCookies([{ name: "a", value: "1", url: "http://127.0.0.1" }]);
  expect(await other.context().cookies()).toEqual([]);
});
