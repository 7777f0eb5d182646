import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, expect, it, vi } from "vitest";
import { packageRoot } from "../../src/database/package-root.js";
import { describeGatewaySettings } from "../../src/gateway/settings.js";
import { type Example, readExamples, readStatements } from "../log/guide.js";
import { pglite } from "../support/databases.js";
import { runProgram } from "../support/processes.js";
import { cleanup, startNode, until } from "./support.js";

const folder = join(packageRoot, ".tsbuild", `gateway-examples-${process.pid}`);
afterAll(() => rm(folder, { recursive: true, force: true }));
const open = pglite();
const page = await readFile(join(packageRoot, "docs", "gateway.md"), "utf8");

/**
 * The ts blocks of the page as one module. Before each it awaits `before` with the block's place among the examples; what stands
 * before "// →" has to come to what stands behind it.
 */
function moduleOf(examples: readonly Example[]): string {
  const blocks = examples.map(({ language, text }, nth) => {
    if (language !== "ts") return "";
    return `await before(${nth});\n${text.replaceAll(/^(\S.*?); \/\/ → (.*)$/gm, "await eventually(() => $1, $2);")}`;
  });
  return `declare global {
  var before: (nth: number) => Promise<void>;
  var eventually: (expression: () => unknown, expected: unknown) => Promise<void>;
  var finish: (...clients: { destroy(): void }[]) => void;
}
${blocks.join("")}finish(ada, bob, eve, adasCursor, bobsCursors, status, evesView);
`;
}

it("docs/gateway.md shows what happens to official clients", async () => {
  const database = await open();
  const node = await startNode(database);
  const examples = readExamples(page);
  let done = 0;
  let checks = 0;
  const runSqlUpTo = async (end: number) => {
    for (; done < end; done += 1) {
      const example = examples[done];
      if (example?.language !== "sql") continue;
      await database.db.transaction(async (tx) => {
        for (const { sql } of readStatements(example.text)) {
          if (!["begin", "commit"].includes(sql.trim())) await tx.query(sql);
        }
      });
    }
  };
  vi.stubGlobal("before", runSqlUpTo);
  vi.stubGlobal("eventually", async (expression: () => unknown, expected: unknown) => {
    checks += 1;
    await until(() => {
      const actual = expression();
      if (!isDeepStrictEqual(actual, expected)) expect(actual).toEqual(expected);
      return true;
    });
  });
  vi.stubGlobal("finish", (...clients: { destroy(): void }[]) => {
    for (const client of clients) cleanup(() => client.destroy());
  });
  const file = join(folder, "examples.ts");
  await mkdir(folder, { recursive: true });
  const source = moduleOf(examples);
  await writeFile(file, source.replace('"ws://127.0.0.1:4466/sync"', JSON.stringify(`${node.url}/sync`)));
  await import(file);
  await runSqlUpTo(examples.length);
  expect(checks).toBe(source.match(/await eventually/g)?.length);
  expect(checks).toBeGreaterThan(6);

  const config = { extends: join(packageRoot, "tsconfig.json"), include: [file] };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify(config));
  const tsc = await runProgram(join(packageRoot, "node_modules", ".bin", "tsc"), ["-p", folder]);
  expect(tsc.stdout).toBe("");
});

it("docs/gateway.md lists every setting, with its default", () => {
  const listed = [...page.matchAll(/^\| `(PERCH_\w+)` \| (\S*) *\| \S.* \|$/gm)].map(([, name, fallback]) => [
    name,
    fallback,
  ]);
  expect(listed).toEqual(describeGatewaySettings().map(({ name, fallback = "" }) => [name, fallback]));
});
