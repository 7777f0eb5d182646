import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, expect, it, vi } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { type Example, moduleOf, readExamples, readStatements, withoutMoments } from "../log/guide.js";
import { postgres } from "../support/databases.js";
import { runProgram } from "../support/processes.js";
import { serving } from "../support/serving.js";

const folder = join(packageRoot, ".tsbuild", `examples-${process.pid}`);
afterAll(() => rm(folder, { recursive: true, force: true }));
const open = postgres();

it("docs/clients.md shows what happens, in TypeScript and in SQL", async () => {
  // What React shows is looked at in a browser (test/browser/react.test.ts).
  const examples = readExamples(await readFile(join(packageRoot, "docs", "clients.md"), "utf8"), ["tsx"]);
  const t = await open();
  const { gateway } = await serving({ url: t.url ?? "" });
  let done = 0;
  let results = 0;
  const runSqlUpTo = async (end: number) => {
    for (; done < end; done += 1) {
      const { language, text, line, result: wanted } = examples[done] as Example;
      if (language !== "sql") continue;
      let result: unknown;
      for (const { sql } of readStatements(text)) {
        const [row] = await t.db.query(sql);
        result = row === undefined ? undefined : Object.values(row)[0];
      }
      if (wanted === undefined) continue;
      results += 1;
      expect({ line, result: withoutMoments(result, wanted) }).toEqual({ line, result: wanted });
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

  const file = join(folder, "clients.ts");
  const text = moduleOf(examples, "../../src/index.js", "")
    .replaceAll("http://127.0.0.1:4466", gateway.url)
    .replaceAll('from "perch/client"', 'from "../../src/client/index.js"')
    .replaceAll(/from "perch\/(tanstack|loro)"/g, 'from "../../src/client/$1/index.js"');
  await mkdir(folder, { recursive: true });
  await writeFile(file, text);
  await import(file);
  await runSqlUpTo(examples.length);
  expect({ checks, results }).toEqual({ checks: 13, results: 2 });

  const config = {
    extends: join(packageRoot, "tsconfig.json"),
    // One copy of TanStack's types, as an app has.
    compilerOptions: {
      paths: { "@tanstack/db": [join(packageRoot, "node_modules", "@tanstack", "db", "dist", "esm", "index.d.ts")] },
    },
    include: [file],
  };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
  const tsc = await runProgram(join(packageRoot, "node_modules", ".bin", "tsc"), ["-p", folder]);
  expect(tsc.stdout).toBe("");
});
