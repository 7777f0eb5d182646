import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Texts by path, from the root of the repository. */
export type Sources = ReadonlyMap<string, string>;

/** In: the repository, a folder in it, and how the names of the files end. Out: all of them below the folder. */
export async function readSources(root: string, folder: string, ending: string): Promise<Sources> {
  const names = (await readdir(join(root, folder), { recursive: true })).filter((name) => name.endsWith(ending)).sort();
  const paths = names.map((name) => `${folder}/${name}`);
  const texts = await Promise.all(paths.map((path) => readFile(join(root, path), "utf8")));
  return new Map(paths.map((path, index) => [path, texts[index] ?? ""]));
}
