import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { packageRoot } from "../../src/database/package-root.js";
import type { Database, Transaction } from "../../src/database/types.js";
import { type Example, moduleOf, readExamples, readStatements, withoutMoments } from "../log/guide.js";
import { postgres } from "../support/databases.js";
import { runProgram } from "../support/processes.js";
import { until } from "../support/until.js";

const folder = join(packageRoot, ".tsbuild", `document-examples-${process.pid}`);
const cleanups: (() => unknown)[] = [() => rm(folder, { recursive: true, force: true })];
afterAll(async () => {
  for (const work of cleanups.reverse()) await work();
});
const open = postgres();

/** Runs a block as psql would. Out: the first value of its last statement that had rows. */
async function runSql(db: Database, { text }: Example): Promise<unknown> {
  const variables = new Map<string, string>();
  let last: unknown;
  const run = async (tx: Pick<Transaction, "query">, sql: string, sets: boolean) => {
    const [row] = await tx.query(sql.replaceAll(/:'(\w+)'/g, (_, name: string) => `'${variables.get(name)}'`));
    last = row === undefined ? undefined : Object.values(row)[0];
    if (sets) for (const [name, value] of Object.entries(row ?? {})) variables.set(name, String(value));
  };
  const statements = readStatements(text);
  const inTransaction = statements[0]?.sql.trim() === "begin";
  const inner = inTransaction ? statements.slice(1, -1) : statements;
  const all = async (tx: Pick<Transaction, "query">) => {
    for (const { sql, sets } of inner) await run(tx, sql, sets);
  };
  await (inTransaction ? db.transaction(all) : all(db));
  return last;
}

/** Between two blocks of the page the worker merges and projects whatever there is. */
async function caughtUp(db: Database): Promise<void> {
  await until(async () => {
    const [left] = await db.query<{ count: number }>(
      `select (select count(*) from perch.document_inbox where status = 'pending') + (select count(*) from perch.document_queue) as count`,
    );
    return left?.count === 0;
  });
}

it("docs/documents.md shows what happens, in SQL, in TypeScript and with a Loro client", {
  timeout: 180_000,
}, async () => {
  const page = await readFile(join(packageRoot, "docs", "documents.md"), "utf8");
  const examples = readExamples(page);
  const t = await open();
  const perch = await perchProcess({ env: { DATABASE_URL: t.url ?? "" } });
  cleanups.push(() => perch.stop());
  await perch.start();

  let done = 0;
  const runSqlUpTo = async (end: number) => {
    for (; done < end; done += 1) {
      const example = examples[done] as Example;
      if (example.language !== "sql") continue;
      await caughtUp(t.db);
      const result = await runSql(t.db, example);
      const { line, result: expected } = example;
      if (expected !== undefined)
        expect({ line, result: withoutMoments(result, expected) }).toEqual({ line, result: expected });
    }
    await caughtUp(t.db);
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
  const program = moduleOf(examples, "../../src/index.js").replaceAll("ws://127.0.0.1:4466/sync", perch.url);
  await writeFile(file, `${program}client.destroy();\nawait store.close();\n`);
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
