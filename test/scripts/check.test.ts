import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { allowed } from "../../scripts/check/allowed.js";
import { clientWall } from "../../scripts/check/client.js";
import { uncommentedExports, uncommentedFunctions } from "../../scripts/check/comments.js";
import { deadExports } from "../../scripts/check/dead.js";
import { apart, floors, importCycles, upwardImports } from "../../scripts/check/imports.js";
import { readSources } from "../../scripts/check/sources.js";
import { isCall, isStatement, sqlStates, statements, textsIn } from "../../scripts/check/statements.js";
import { packageRoot } from "../../src/database/package-root.js";

const source = await readSources(packageRoot, "src", ".ts");
const pages = await readSources(packageRoot, "src", ".tsx");
const tests = await readSources(packageRoot, "test", ".ts");
const steps = await readSources(packageRoot, "scripts", ".js");
const sql = await readSources(packageRoot, "sql", ".sql");

/** The tree with something planted. */
const planted = (path: string, text: string) => new Map([...source, [path, `${source.get(path) ?? ""}\n${text}`]]);

it("the tree keeps to its walls, and no folder stands outside of them", () => {
  expect(upwardImports(source)).toEqual([]);
  expect(importCycles(source)).toEqual([]);
  expect(clientWall(new Map([...source, ...pages]))).toEqual([]);
  expect(statements(source, allowed)).toEqual([]);
  expect(sqlStates(source)).toEqual([]);
  expect(uncommentedExports(source)).toEqual([]);
  expect(deadExports(source, new Map([...source, ...pages, ...tests, ...steps]))).toEqual([]);
  expect(uncommentedFunctions(sql)).toEqual([]);
  expect(source.size).toBeGreaterThan(200);
  const folders = new Set(
    [...source.keys()].filter((path) => path.split("/").length > 2).map((path) => path.split("/")[1]),
  );
  expect([...folders].sort()).toEqual([...floors.flat(), ...apart].filter((folder) => folders.has(folder)).sort());
});

it("docs/architecture.md shows every folder of the house, in the order of its floors", async () => {
  const page = await readFile(join(packageRoot, "docs", "architecture.md"), "utf8");
  const shown = [...page.matchAll(/^ {2}(\w+)\/ /gm)].map(([, folder = ""]) => folder);
  const [, order = ""] = /Imports point down: ([^.]*)\./.exec(page.replaceAll("\n", " ")) ?? [];
  expect(order.split(" → ").map((floor) => floor.split(", "))).toEqual(floors);
  expect(shown).toEqual(expect.arrayContaining(floors.flat()));
});

it.each([
  ["lib/ledger.ts", 'import { meaningOf } from "../database/errors.js";'],
  ["rooms/room.ts", 'import type { Membership } from "../websocket/membership.js";'],
  ["database/text.ts", 'export { withContext } from "../identity/context.js";'],
  ["documents/key.ts", 'const later = import("../worker/worker.js");'],
  ["errors.ts", 'import { push } from "./log/calls.js";'],
])("sees that src/%s imports from above", (path, text) => {
  const found = upwardImports(planted(`src/${path}`, text));
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(`src/${path}:`);
});

it.each([
  ["client/fold.ts", 'import { backOff } from "../lib/back-off.js";'],
  ["client/fold.ts", 'import type { Change } from "../log/schemas.js";'],
  ["client/fold.ts", 'import { z } from "zod";'],
  ["client/fold.ts", 'import { readFile } from "node:fs/promises";'],
  ["client/client.ts", 'import { createTransaction } from "@tanstack/db";'],
  ["log/calls.ts", 'import { foldChange } from "../client/fold.js";'],
])("sees that src/%s reaches through the wall around what runs on devices", (path, text) => {
  expect(clientWall(planted(`src/${path}`, text))).toHaveLength(1);
});

it("sees a file in a folder that nobody has given a place", () => {
  expect(upwardImports(planted("src/misc/all.ts", ""))).toHaveLength(1);
});

it("sees a circle of files, also one of types alone, and one of folders", () => {
  const types = planted("src/lib/counts.ts", 'import type { Rate } from "./rate-of.js";');
  types.set("src/lib/rate-of.ts", 'import type { Counts } from "./counts.js";');
  expect(importCycles(types)).toEqual(["imports go round: src/lib/counts.ts → src/lib/rate-of.ts"]);
  const folders = planted("src/log/a.ts", 'import { b } from "../checkpoints/b.js";');
  folders.set("src/checkpoints/b.ts", "export const b = 1;");
  folders.set("src/checkpoints/c.ts", 'import { d } from "../log/d.js";');
  folders.set("src/log/d.ts", "export const d = 1;");
  expect(importCycles(folders)).toEqual(["imports go round: src/checkpoints → src/log"]);
});

it("sees a statement of more than a call, wherever it stands, and a list that allows what is not there", () => {
  const text = `const sql = \`select t.a from perch.documents t where t.x = \${f("\`")}\`;`;
  expect(statements(planted("src/log/calls.ts", text), allowed)).toHaveLength(1);
  const commented = "/* `delete from perch.documents` */ // 'update perch.documents set x = 1'";
  expect(statements(planted("src/log/calls.ts", commented), allowed)).toEqual([]);
  expect(statements(source, new Map([...allowed, ["src/log/calls.ts", ["why"]]]))).toHaveLength(1);
  expect(statements(source, new Map([...allowed, ["src/log/gone.ts", ["why"]]]))).toHaveLength(1);
});

it.each([
  ["select perch.leave_presence(node_id => $1)", true],
  ["select others, change_id from perch.enter_presence(node_id => $1)", true],
  ["\n  select from perch.project_document(space_id => $1, revision => coalesce($2, 0)) p", true],
  ["select h.space_id, h.seq from perch.log_heads(space_ids => $1::text[]) h", true],
  ["select set_config('role', 'perch_app (select)', true)", true],
  ["select a from perch.f() where a = 1", false],
  ["select perch.f((select max(seq) from perch.log)) as x", false],
  ["select * from perch.documents", false],
  ["select a.* from perch.f() a join perch.g() b on true", false],
  ["with x as (select 1) select perch.f()", false],
  ["delete from perch.documents", false],
])("says of %j whether it is only a call", (text, expected) => {
  expect(isStatement(text)).toBe(true);
  expect(isCall(text)).toBe(expected);
});

it("sees an SQLSTATE outside of the one place that says what they mean", () => {
  expect(
    sqlStates(planted("src/http/answers.ts", 'const isLocked = (code: string) => code === "55P03";')),
  ).toHaveLength(1);
  expect(sqlStates(planted("src/database/text.ts", 'const locked = "55P03";'))).toEqual([]);
});

it("reads texts and no comments, and is not led astray by quotes within quotes", () => {
  const code = `const a = "x // y"; // "no"\nconst b = \`l \${m("}", \`n\`)} o\`; /* 'no' */ const c = 'it\\'s';`;
  expect(textsIn(code)).toEqual([
    { text: "x // y", line: 1 },
    { text: "l inserted o", line: 2 },
    { text: "it\\'s", line: 2 },
  ]);
  expect(isStatement("selected for you")).toBe(false);
  expect(isStatement("with regards")).toBe(false);
});

it("sees what the package exports without a comment, functions and methods", () => {
  const bare = planted("src/log/index.ts", 'export { bare, Made } from "./bare.js";');
  bare.set(
    "src/log/bare.ts",
    "export function bare() {}\n\n/** Is explained. */\nexport class Made {\n  does() {\n  }\n}\n",
  );
  expect(uncommentedExports(bare)).toEqual([
    "src/log/bare.ts:1 bare is exported and has no comment",
    "src/log/bare.ts:5 Made.does has no comment",
  ]);
});

it("sees an export that nobody uses", () => {
  const dead = new Map([["src/lib/counts.ts", "export const neverAskedFor = 1;\nexport interface NeverHad {}"]]);
  expect(deadExports(dead, dead)).toEqual([
    "src/lib/counts.ts exports neverAskedFor, which nobody uses",
    "src/lib/counts.ts exports NeverHad, which nobody uses",
  ]);
  const used = new Map([...dead, ["test/lib/counts.test.ts", "const x: NeverHad = neverAskedFor;"]]);
  expect(deadExports(dead, used)).toEqual([]);
});

it("sees a function of the SQL API without a comment", () => {
  const text = "create or replace function perch.bare() returns void language sql as $$ $$;\n";
  expect(uncommentedFunctions(new Map([["sql/log/api/bare.sql", text]]))).toHaveLength(1);
  expect(uncommentedFunctions(new Map([["sql/log/internal/bare.sql", text]]))).toEqual([]);
  const explained = `${text}comment on function perch.bare() is 'does nothing';\n`;
  expect(uncommentedFunctions(new Map([["sql/log/api/bare.sql", explained]]))).toEqual([]);
});
