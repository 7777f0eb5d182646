import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { packageRoot } from "../src/database/package-root.js";
import { type Finished, runProgram } from "./support/processes.js";

// What `npm publish` would upload, installed in an empty folder as a user of perch does.
let folder: string;
let contents: string[];

const inFolder = (program: string, args: string[]): Promise<Finished> => runProgram(program, args, { cwd: folder });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "perch-package-"));
  // Built already, before the tests; building again here would pull dist/ from under the tests that run beside this one.
  const packed = await runProgram("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
    cwd: packageRoot,
  });
  expect(packed.code, packed.stderr).toBe(0);
  const [tarball] = JSON.parse(packed.stdout) as [{ filename: string; files: { path: string }[] }];
  contents = tarball.files.map(({ path }) => path);

  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "someone", private: true, type: "module" }));
  const install = ["install", "--prefer-offline", "--no-audit", "--no-fund", join(folder, tarball.filename)];
  const installed = await inFolder("npm", install);
  expect(installed.code, installed.stderr).toBe(0);
}, 300_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

it("the package holds what runs and what a DBA reads, and nothing of its making", () => {
  for (const path of [
    "dist/index.js",
    "dist/index.d.ts",
    "dist/cli/main.js",
    "migrations/0001_spaces.sql",
    "sql/ORDER",
    "LICENSE",
  ]) {
    expect(contents).toContain(path);
  }
  const expected =
    /^(dist\/.+\.(js|d\.ts)|migrations\/.+\.sql|sql\/.+|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/;
  expect(contents.filter((path) => !expected.test(path))).toEqual([]);
});

it("perch --help works where the package is installed", async () => {
  const help = await inFolder("npx", ["--no-install", "perch", "--help"]);
  expect(help).toMatchObject({ code: 0 });
  expect(help.stdout).toContain("Usage: perch COMMAND");
});

it("perch migrates an embedded database where the package is installed", async () => {
  const first = await inFolder("npx", ["--no-install", "perch", "migrate"]);
  expect(first.stdout).toContain("applied 0001_spaces");
  const second = await inFolder("npx", ["--no-install", "perch", "migrate"]);
  expect(second).toMatchObject({ code: 0, stdout: "up to date, nothing to do\n" });
  expect(await readdir(join(folder, ".perch"))).toEqual(["postgres"]);
});

it("perch and perch/testing are imported with their types", async () => {
  await mkdir(join(folder, "app"), { recursive: true });
  await writeFile(
    join(folder, "app", "main.ts"),
    `import { openDatabase, migrate, PerchError, type Database } from "perch";
     import { createTestDatabase } from "perch/testing";
     const db: Database = await openDatabase("memory:");
     const { migrations }: { migrations: string[] } = await migrate(db);
     if (migrations.length === 0) throw new PerchError("PE404", "no migrations");
     await db.close();
     const test: Database = await createTestDatabase();
     const [row] = await test.query<{ ok: boolean }>("select perch.current_user_id() is null as ok");
     if (row?.ok !== true) throw new Error("not migrated");
     await test.close();
     // @ts-expect-error: the types are known, not any
     openDatabase(7);
     console.log("imported");`,
  );
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        target: "es2023",
        lib: ["es2023"],
        module: "nodenext",
        strict: true,
        types: ["node"],
        // The compiler and Node's types are the repository's; everything else must come with the package.
        typeRoots: [join(packageRoot, "node_modules", "@types")],
        outDir: "out",
        rootDir: "app",
      },
      include: ["app"],
    }),
  );
  const compiled = await inFolder(join(packageRoot, "node_modules", ".bin", "tsc"), ["-p", "."]);
  expect(compiled).toMatchObject({ code: 0, stdout: "" });
  expect(await inFolder(process.execPath, ["out/main.js"])).toMatchObject({
    code: 0,
    stdout: "imported\n",
    stderr: "",
  });
});
