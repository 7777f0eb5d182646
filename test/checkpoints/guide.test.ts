import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import type { Database } from "../../src/database/types.js";
import { type Example, moduleOf, readExamples, readStatements, withoutMoments } from "../log/guide.js";
import { postgres } from "../support/databases.js";
import { runProgram } from "../support/processes.js";

const folder = join(packageRoot, ".tsbuild", `checkpoint-examples-${process.pid}`);
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});
const open = postgres();

/** Runs a block, one transaction, as psql would. Out: the first value of its last statement. */
function runSql(db: Database, { text }: Example): Promise<unknown> {
  const variables = new Map<string, string>();
  return db.transaction(async (tx) => {
    let last: unknown;
    for (const { sql, sets } of readStatements(text)) {
      if (/^(begin|commit)$/.test(sql.trim())) continue;
      const filled = sql.replaceAll(/:'(\w+)'/g, (_, name: string) => `'${variables.get(name)}'`);
      const [row] = await tx.query<Record<string, unknown>>(filled);
      [last] = Object.values(row ?? {});
      if (sets) for (const [name, value] of Object.entries(row ?? {})) variables.set(name, String(value));
    }
    return last;
  });
}

it("docs/checkpoints.md shows what happens, in SQL, in TypeScript and in LangGraph", async () => {
  const page = await readFile(join(packageRoot, "docs", "checkpoints.md"), "utf8");
  const examples = readExamples(page);
  const t = await open();

  let done = 0;
  const runSqlUpTo = async (end: number) => {
    for (; done < end; done += 1) {
      const example = examples[done] as Example;
      if (example.language !== "sql") continue;
      const result = await runSql(t.db, example);
      const { line, result: expected } = example;
      if (expected !== undefined)
        expect({ line, result: withoutMoments(result, expected) }).toEqual({ line, result: expected });
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

  const file = join(folder, "examples.ts");
  await mkdir(folder, { recursive: true });
  const program = moduleOf(examples, "../../src/index.js").replaceAll(
    '"perch/langgraph"',
    '"../../src/langgraph/index.js"',
  );
  await writeFile(file, program);
  await import(file);
  await runSqlUpTo(examples.length);
  expect(checks).toBe(page.split("; // → ").length - 1);

  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({ extends: join(packageRoot, "tsconfig.json"), include: [file] }),
  );
  const tsc = await runProgram(join(packageRoot, "node_modules", ".bin", "tsc"), ["-p", folder]);
  expect(tsc.stdout).toBe("");
});
