import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import type { Database, Transaction } from "../../src/database/types.js";
import { postgres } from "../support/databases.js";
import { perchMain, runProgram } from "../support/processes.js";
import { type Example, moduleOf, readExamples, readStatements, withoutMoments } from "./guide.js";

const folder = join(packageRoot, ".tsbuild", `examples-${process.pid}`);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});
const open = postgres();

/** Runs a block as psql would. Out: the first value of its last statement. */
async function runSql(db: Database, { text }: Example): Promise<unknown> {
  const variables = new Map<string, string>();
  const literal = (value: string) => `'${value.replaceAll("'", "''")}'`;
  let last: unknown;
  const run = async (tx: Pick<Transaction, "query">, sql: string, sets: boolean) => {
    const [row] = await tx.query(sql.replaceAll(/:'(\w+)'/g, (_, name: string) => literal(variables.get(name) ?? "")));
    last = row === undefined ? undefined : Object.values(row)[0];
    if (!sets) return;
    for (const [name, value] of Object.entries(row ?? {})) {
      variables.set(name, typeof value === "string" ? value : JSON.stringify(value));
    }
  };
  const statements = readStatements(text);
  while (statements.length > 0) {
    const next = statements.shift();
    if (next?.sql.trim() !== "begin") await run(db, next?.sql ?? "", next?.sets ?? false);
    else {
      await db.transaction(async (tx) => {
        for (let each = statements.shift(); each && each.sql.trim() !== "commit"; each = statements.shift()) {
          await run(tx, each.sql, each.sets);
        }
      });
    }
  }
  return last;
}

/** Runs a block as in a shell that has perch, beside the database of the page. */
async function runShell({ text, line }: Example, url: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const perch = `perch() { ${JSON.stringify(process.execPath)} ${JSON.stringify(perchMain)} "$@"; }`;
  const done = await runProgram("sh", ["-ec", `${perch}\n${text}`], { cwd: folder, env: { DATABASE_URL: url } });
  expect(done, `line ${line}: ${done.stderr}`).toMatchObject({ code: 0 });
}

it.each(["change-log.md", "transactions.md"])("docs/%s shows what happens, in SQL and in TypeScript", async (page) => {
  const examples = readExamples(await readFile(join(packageRoot, "docs", page), "utf8"), ["sh"]);
  const t = await open();

  // Where a block imports into.
  await t.db.query("select perch.adopt_space(space_id => 'archive', owner_id => 'bob')");
  let done = 0;
  const runSqlUpTo = async (end: number) => {
    for (; done < end; done += 1) {
      const example = examples[done] as Example;
      if (example.language === "sh") await runShell(example, t.url ?? "");
      if (example.language !== "sql") continue;
      const result = await runSql(t.db, example);
      if (example.result === undefined) continue;
      expect({ line: example.line, result: withoutMoments(result, example.result) }).toEqual({
        line: example.line,
        result: example.result,
      });
    }
  };
  let checks = 0;
  const check = (actual: unknown, expected: unknown) => {
    checks += 1;
    if (typeof expected === "object" && !Array.isArray(expected)) expect(actual).toMatchObject(expected as object);
    else expect(actual).toEqual(expected);
  };
  vi.stubGlobal("before", runSqlUpTo);
  vi.stubGlobal("check", check);
  vi.stubEnv("DATABASE_URL", t.url);

  const file = join(folder, `${page}.ts`);
  await mkdir(folder, { recursive: true });
  await writeFile(file, moduleOf(examples, "../../src/index.js"));
  await import(file);
  await runSqlUpTo(examples.length);
  expect(checks).toBeGreaterThan(4);

  const config = { extends: join(packageRoot, "tsconfig.json"), include: [file] };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
  const tsc = await runProgram(join(packageRoot, "node_modules", ".bin", "tsc"), ["-p", folder]);
  expect(tsc.stdout).toBe("");
});
