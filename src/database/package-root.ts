import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

// A bundler's own name, which it puts in for us; where code and files still are as here, it would show nothing else of itself.
declare const __webpack_require__: unknown;

function find(): string {
  // A bundle in CommonJS has no URL.
  const own = import.meta.url as string | undefined;
  const isBundled = own === undefined || typeof __webpack_require__ !== "undefined";
  for (let folder = isBundled ? "" : dirname(fileURLToPath(own)); folder !== ""; ) {
    if (isPerch(folder)) return folder;
    const parent = dirname(folder);
    folder = parent === folder ? "" : parent;
  }
  throw new Error(
    'perch is part of a bundle, and its files (sql/, migrations/, threads) are not: leave it out (esbuild --external:perch, webpack externals, Vite ssr.external, Next serverExternalPackages: ["perch"]), and have it in node_modules where the bundle runs',
  );
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
