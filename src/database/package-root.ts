import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

function find(): string {
  // A bundle in CommonJS has no URL.
  const own = import.meta.url as string | undefined;
  for (let folder = own === undefined ? "" : dirname(fileURLToPath(own)); folder !== ""; ) {
    if (isPerch(folder)) return folder;
    const parent = dirname(folder);
    folder = parent === folder ? "" : parent;
  }
  // In a bundle the code is elsewhere than its files, which may be installed all the same.
  try {
    return dirname(createRequire(join(process.cwd(), "package.json")).resolve("perch/package.json"));
  } catch {
    throw new Error(
      'the files of the package perch (sql/, migrations/, threads) are not beside its code, as happens in a bundle: keep perch out of it (esbuild --packages=external, webpack externals, Next serverExternalPackages: ["perch"]) and in node_modules where it runs',
    );
  }
}

function isPerch(folder: string): boolean {
  try {
    const { name } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name?: unknown };
    return name === "perch";
  } catch {
    return false;
  }
}

/** The folder of the package, wherever the code runs from; `migrations/` and `sql/` lie in it. */
export const packageRoot: string = find();

/**
 * The URL of a module of the build, for a thread: threads run compiled code only, also where whoever starts them runs from `src/` (tests) or from
 * a bundle. In: its path in `dist/`.
 */
export const compiledModule = (path: string): URL => pathToFileURL(join(packageRoot, "dist", path));
