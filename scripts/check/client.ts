import { importsOf } from "./imports.js";
import type { Sources } from "./sources.js";

/** What runs on devices stands on nothing else of perch, so that no server's package comes into an app's bundle. */
const home = "src/client/";

/** The packages that a folder in it may import; the others none. */
const packages: ReadonlyMap<string, readonly string[]> = new Map([
  ["src/client/tanstack/", ["@tanstack/db", "@tanstack/offline-transactions"]],
  ["src/client/loro/", ["loro-crdt"]],
  ["src/client/console/", ["preact", "preact/hooks", "uplot", "uplot/dist/uPlot.min.css"]],
]);

const folderOf = (path: string) => [...packages.keys()].find((folder) => path.startsWith(folder));

/** In: the files of src/. Out: a line for each import by which the client comes to stand on something else, or the server on the client. */
export function clientWall(files: Sources): string[] {
  return [...files].flatMap(([path, text]) => {
    const isClient = path.startsWith(home);
    const crossing = importsOf(path, text).filter(({ path: target }) => target.startsWith(home) !== isClient);
    const strange = isClient
      ? packagesIn(text).filter((name) => !packages.get(folderOf(path) ?? "")?.includes(name))
      : [];
    return [
      ...crossing.map(({ path: target, line }) => `${path}:${line} imports ${target}, across the wall around ${home}`),
      ...strange.map((name) => `${path} imports ${name}, which does not belong on a device`),
    ];
  });
}

const packagesIn = (text: string): string[] =>
  [...text.matchAll(/\b(?:from|import|import\()\s*"([^."][^"]*)"/g)].map(([, name = ""]) => name);
