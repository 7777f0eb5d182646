import { posix } from "node:path";
import type { Sources } from "./sources.js";

/** The folders of src/, from the top of the house down. An import points down, or to the side. */
export const floors: readonly (readonly string[])[] = [
  ["cli"],
  ["gateway"],
  ["http", "websocket", "worker"],
  ["rooms"],
  ["documents", "log", "shapes", "checkpoints", "langgraph"],
  ["protocol", "notifications", "identity"],
  ["engine"],
  ["database"],
  ["lib"],
];

/** Beside the house: what runs on devices (client.ts). */
export const apart: readonly string[] = ["client"];

/** Files beside the folders: the package's faces stand above everything, what an error of perch is below. */
const above = ["index.ts", "testing.ts"];
const below = ["errors.ts"];

const floorOf = (path: string): number | undefined => {
  const [, first = ""] = path.split("/");
  if (above.includes(first)) return -1;
  if (below.includes(first)) return floors.length;
  const floor = floors.findIndex((folders) => folders.includes(first));
  return floor < 0 ? undefined : floor;
};

/** What a file imports, types too: paths within the tree. */
export function importsOf(path: string, text: string): { readonly path: string; readonly line: number }[] {
  const found: { path: string; line: number }[] = [];
  for (const match of text.matchAll(/\b(?:from|import\()\s*"(\.[^"]+)"/g)) {
    const target = posix.join(posix.dirname(path), match[1] ?? "").replace(/\.js$/, ".ts");
    found.push({ path: target, line: text.slice(0, match.index).split("\n").length });
  }
  return found;
}

/** In: the files of src/. Out: a line for each import that points up, and for each folder that stands nowhere. */
export function upwardImports(files: Sources): string[] {
  return [...files].flatMap(([path, text]) => {
    if (apart.includes(path.split("/")[1] ?? "")) return [];
    const from = floorOf(path);
    if (from === undefined) return [`${path}: its folder has no floor; see scripts/check/imports.ts`];
    return importsOf(path, text).flatMap(({ path: target, line }) => {
      const to = floorOf(target);
      return to !== undefined && to < from ? [`${path}:${line} imports ${target}, which stands above it`] : [];
    });
  });
}

/** In: the files of src/. Out: a line for each circle of files that import each other, and of folders that do. */
export function importCycles(files: Sources): string[] {
  const between = new Map<string, Set<string>>();
  const folders = new Map<string, Set<string>>();
  const link = (graph: Map<string, Set<string>>, from: string, to: string) => {
    const targets = graph.get(from) ?? new Set();
    graph.set(from, targets.add(to));
  };
  for (const [path, text] of files) {
    for (const { path: target } of importsOf(path, text)) {
      if (!files.has(target)) continue;
      link(between, path, target);
      const [from, to] = [path.split("/").slice(0, 2).join("/"), target.split("/").slice(0, 2).join("/")];
      if (from !== to) link(folders, from, to);
    }
  }
  return [...circlesIn(between), ...circlesIn(folders)].map((circle) => `imports go round: ${circle.join(" → ")}`);
}

/** Strongly connected components of more than one, by Tarjan's algorithm, or of one that points to itself. */
function circlesIn(graph: ReadonlyMap<string, ReadonlySet<string>>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];
  function visit(node: string): void {
    index.set(node, index.size);
    low.set(node, index.get(node) ?? 0);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!index.has(next)) visit(next);
      else if (!stack.includes(next)) continue;
      low.set(node, Math.min(low.get(node) ?? 0, low.get(next) ?? 0));
    }
    if (low.get(node) !== index.get(node)) return;
    const circle = stack.splice(stack.indexOf(node));
    if (circle.length > 1 || graph.get(node)?.has(node)) circles.push(circle.sort());
  }
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return circles;
}
