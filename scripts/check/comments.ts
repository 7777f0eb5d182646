import { posix } from "node:path";
import type { Sources } from "./sources.js";

/** What of the package others import. */
const faces = [
  "src/index.ts",
  "src/testing.ts",
  "src/langgraph/index.ts",
  "src/client/index.ts",
  "src/client/loro/index.ts",
  "src/client/tanstack/index.ts",
];

/** In: the files of src/. Out: a line for each function, and each method of a class, that the package exports without a comment. */
export function uncommentedExports(files: Sources): string[] {
  return faces.flatMap((face) => [...exportsOf(files, face)].flatMap(([name, path]) => problemsOf(files, name, path)));
}

/** What a file exports, and where each is declared. */
function exportsOf(files: Sources, path: string): Map<string, string> {
  const text = files.get(path) ?? "";
  const found = new Map<string, string>();
  const target = (specifier: string) => posix.join(posix.dirname(path), specifier).replace(/\.js$/, ".ts");
  for (const [, names = "", specifier = ""] of text.matchAll(/export (?!type)\{([^}]*)\} from "(\.[^"]+)"/g)) {
    const all = exportsOf(files, target(specifier));
    for (const name of names.split(",").map((each) => each.trim())) {
      const own = name.replace(/ as .*/, "");
      if (own !== "" && !own.startsWith("type ")) found.set(own, all.get(own) ?? target(specifier));
    }
  }
  for (const [, specifier = ""] of text.matchAll(/export \* from "(\.[^"]+)"/g)) {
    for (const [name, where] of exportsOf(files, target(specifier))) found.set(name, where);
  }
  for (const [, name = ""] of text.matchAll(/^export (?:async )?(?:function\*?|class|const) (\w+)/gm))
    found.set(name, path);
  return found;
}

function problemsOf(files: Sources, name: string, path: string): string[] {
  const lines = (files.get(path) ?? "").split("\n");
  const at = lines.findIndex((line) => new RegExp(`^export (async )?(function\\*?|class|const) ${name}\\b`).test(line));
  const line = lines[at];
  if (line === undefined || /^export const/.test(line) === true) return [];
  const missing = isCommented(lines, at) ? [] : [`${path}:${at + 1} ${name} is exported and has no comment`];
  if (!/^export class/.test(line)) return missing;
  const end = lines.findIndex((each, index) => index > at && each === "}");
  for (let index = at + 1; index < end; index++) {
    const [, method] = /^ {2}(?:async )?(\w+)(?:<[^(]*>)?\(/.exec(lines[index] ?? "") ?? [];
    if (method === undefined || method === "constructor" || isCommented(lines, index)) continue;
    missing.push(`${path}:${index + 1} ${name}.${method} has no comment`);
  }
  return missing;
}

const isCommented = (lines: readonly string[], at: number) => (lines[at - 1] ?? "").trimEnd().endsWith("*/");

/** In: the files of sql/. Out: a line for each function in an api/ folder that no `comment on function` in its file explains. */
export function uncommentedFunctions(files: Sources): string[] {
  return [...files].flatMap(([path, text]) => {
    if (!path.includes("/api/")) return [];
    const named = (pattern: RegExp) => [...text.matchAll(pattern)].map(([, name = ""]) => name);
    const explained = new Set(named(/^comment on (?:function|procedure) perch\.(\w+)/gim));
    const made = new Set(named(/^create (?:or replace )?(?:function|procedure) perch\.(\w+)/gim));
    return [...made].filter((name) => !explained.has(name)).map((name) => `${path}: perch.${name} has no comment`);
  });
}
