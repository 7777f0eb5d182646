import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { packageRoot } from "../../src/database/package-root.js";

/** In: a file of dist/. Out: the packages that it brings with it, by all that it imports. */
export async function packagesOf(entry: string): Promise<string[]> {
  const packages = new Set<string>();
  const files = new Set([join(packageRoot, "dist", entry)]);
  for (const file of files) {
    const text = await readFile(file, "utf8");
    for (const [, name = ""] of text.matchAll(/^(?:import|export)\b(?:[^"';]*\bfrom)?\s*"([^"]+)"/gm)) {
      if (name.startsWith(".")) files.add(join(dirname(file), name));
      else packages.add(name);
    }
  }
  return [...packages].filter((name) => !name.startsWith("node:"));
}
