import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { packageRoot } from "../../../src/database/package-root.js";

/** The packages that a compiled file brings with it, and all that it imports. */
async function packagesOf(entry: string): Promise<Set<string>> {
  const packages = new Set<string>();
  const files = new Set([entry]);
  for (const file of files) {
    const text = await readFile(file, "utf8");
    for (const [, name = ""] of text.matchAll(/^(?:import|export)\b(?:[^"';]*\bfrom)?\s*"([^"]+)"/gm)) {
      if (name.startsWith(".")) files.add(join(dirname(file), name));
      else packages.add(name);
    }
  }
  return packages;
}

it("is not made to start more slowly by any package but Loro", async () => {
  const packages = await packagesOf(join(packageRoot, "dist/documents/loro/thread.js"));
  expect([...packages].filter((name) => !name.startsWith("node:"))).toEqual(["loro-crdt"]);
});
