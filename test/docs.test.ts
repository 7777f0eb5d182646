import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../src/database/package-root.js";
import { readBlocks } from "./support/blocks.js";

const docs = join(packageRoot, "docs");

/** The tests that run pages. */
const guides = [
  "log/guide.test.ts",
  "client/guide.test.ts",
  "checkpoints/guide.test.ts",
  "documents/guide.test.ts",
  "gateway/guide.test.ts",
  "http/guide.test.ts",
  "http/shape-guide.test.ts",
  "tables/guide.test.ts",
  "moving/guide.test.ts",
  "faults/operations.test.ts",
  "package.test.ts",
];

it("every page with something to run is run by a test", async () => {
  const tests = await Promise.all(guides.map((path) => readFile(join(packageRoot, "test", path), "utf8")));
  const pages = (await readdir(docs)).filter((name) => name.endsWith(".md"));
  // Made from the comments in the database, whose examples have a test of their own.
  const unread = pages.filter((name) => name !== "sql.md" && !tests.some((text) => text.includes(`"${name}"`)));
  for (const name of unread) {
    const text = await readFile(join(docs, name), "utf8");
    // Pictures, and what programs print.
    expect(() => readBlocks(text, ["mermaid", "text"]), name).not.toThrow();
  }
});

it("a page cannot show what its test passes over", () => {
  const fence = "```";
  expect(readBlocks(`${fence}sql\nselect 1;\n${fence}\n`, ["sql"])).toEqual([
    { language: "sql", text: "select 1;\n", line: 1 },
  ]);
  expect(() => readBlocks(`text\n${fence}python\nprint()\n${fence}\n`, ["sql"])).toThrow("line 2: a block of python");
  expect(() => readBlocks(`${fence}\nnpm start\n${fence}\n`, ["sql"])).toThrow("no language");
  expect(() => readBlocks(`- a list\n  ${fence}sql\n  select 1;\n  ${fence}\n`, ["sql"])).toThrow("line 2");
  expect(() => readBlocks(`${fence}sql\nselect 1;\n`, ["sql"])).toThrow("without an end");
});
