import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function find(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error("the files of the package perch are incomplete: no package.json above the code");
    folder = parent;
  }
  return folder;
}

/** The folder of the package, wherever the code runs from; `migrations/` and `sql/` lie in it. */
export const packageRoot: string = find();
