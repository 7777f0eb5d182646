import { spawn } from "node:child_process";
import { access, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { freePort } from "../scripts/support/free-port.js";
import { packageRoot } from "../src/database/package-root.js";
import { readBlocks } from "./support/blocks.js";
import { environment, type Finished, runProgram } from "./support/processes.js";

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
    "dist/bin/perch.js",
    "dist/console/index.html",
    "migrations/0001_spaces.sql",
    "sql/log/api/push.sql",
    "sql/identity/policies.sql",
    "docs/schema.txt",
    "LICENSE",
  ]) {
    expect(contents).toContain(path);
  }
  const expected =
    /^(dist\/.+\.(js|d\.ts)|dist\/bin\/licenses\.md|dist\/template\/\w+\.image|dist\/console\/[\w./-]+\.(html|js|css|svg)|migrations\/.+\.sql|sql\/.+|docs\/.+|deploy\/.+|package\.json|README\.md|LICENSE|CHANGELOG\.md)$/;
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

it("perch, perch/client and perch/testing are imported with their types", async () => {
  await mkdir(join(folder, "app"), { recursive: true });
  await writeFile(
    join(folder, "app", "main.ts"),
    `import { openDatabase, migrate, PerchError, type Database } from "perch";
     import { createPerchClient, type PulledChange } from "perch/client";
     import { createTestDatabase } from "perch/testing";
     const client = createPerchClient({ url: "http://127.0.0.1:4466" });
     const titles = (all: PulledChange<{ title: string }>[]): string[] => all.map(({ data }) => data?.title ?? "");
     if (typeof client.follow !== "function" || titles([]).length > 0) throw new Error("no client");
     const db: Database = await openDatabase("memory:");
     const { migrations }: { migrations: string[] } = await migrate(db);
     if (migrations.length > 0) throw new PerchError("PE409", "it was not up to date when it was opened");
     await db.close();
     await using test: Database = await createTestDatabase();
     const [row] = await test.query<{ ok: boolean }>("select perch.current_user_id() is null as ok");
     if (row?.ok !== true) throw new Error("not migrated");
     // @ts-expect-error: the types are known, not any
     openDatabase(7);
     console.log("imported");`,
  );
  await writeFile(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        target: "es2022",
        // What an app may still have.
        lib: ["es2020"],
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
  for (const [module, moduleResolution] of [
    ["node16", "node16"],
    ["esnext", "bundler"],
  ]) {
    const other = ["-p", ".", "--noEmit", "--module", `${module}`, "--moduleResolution", `${moduleResolution}`];
    expect(await inFolder(join(packageRoot, "node_modules", ".bin", "tsc"), other)).toMatchObject({
      code: 0,
      stdout: "",
    });
  }
  expect(await inFolder(process.execPath, ["out/main.js"])).toMatchObject({
    code: 0,
    stdout: "imported\n",
    stderr: "",
  });
});

it("perch is required from CommonJS, too", async () => {
  await writeFile(
    join(folder, "app.cjs"),
    'console.log(typeof require("perch").push, typeof require("perch/client").createPerchClient);',
  );
  expect(await inFolder(process.execPath, ["app.cjs"])).toMatchObject({ code: 0, stdout: "function function\n" });
});

it("a bundle of a server works that leaves perch out, and one that does not says what to do", async () => {
  await writeFile(
    join(folder, "server.js"),
    `import { openDatabase } from "perch";
     openDatabase("memory:").then(async (db) => {
       console.log(await db.query("select perch.current_user_id() as id"));
       await db.close();
     });`,
  );
  const esbuild = ["install", "--no-save", "--prefer-offline", "--no-audit", "--no-fund", "esbuild@0.28"];
  expect(await inFolder("npm", esbuild)).toMatchObject({ code: 0 });
  for (const [format, name] of [
    ["esm", "server-bundle.mjs"],
    ["cjs", "server-bundle.cjs"],
  ] as const) {
    const bundled = async (...more: string[]) => {
      const args = ["server.js", "--bundle", "--platform=node", `--format=${format}`, `--outfile=out/${name}`, ...more];
      const made = await inFolder(join("node_modules", ".bin", "esbuild"), args);
      expect(made.code, made.stderr).toBe(0);
      return inFolder(process.execPath, [join("out", name)]);
    };
    expect(await bundled("--external:perch")).toMatchObject({ code: 0, stdout: "[ { id: null } ]\n", stderr: "" });
    const whole = await bundled();
    expect(whole.code).toBe(1);
    expect(whole.stderr).toContain("leave it out (esbuild --external:perch,");
  }
});

it("the example of docs/testing.md runs where the package is installed", async () => {
  const page = await readFile(join(packageRoot, "docs", "testing.md"), "utf8");
  const [example, command, ...rest] = readBlocks(page, ["js", "sh"]);
  expect(rest).toEqual([]);
  const [, name = ""] = /^\/\/ (\S+)\n/.exec(example?.text ?? "") ?? [];
  await writeFile(join(folder, name), example?.text ?? "");
  expect(await runProgram("sh", ["-ec", command?.text ?? ""], { cwd: folder })).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/pass 1$/m),
  });
});

it("README runs word by word, in the folder where the package is installed", async () => {
  const page = await readFile(join(packageRoot, "README.md"), "utf8");
  // The one thing that is not as on the page: others may be using that port while tests run.
  const port = String(await freePort());
  const blocks = readBlocks(page.replaceAll("4466", port), ["sh", "js", "text", "mermaid"]);
  const { scripts } = JSON.parse(await readFile(join(packageRoot, "package.json"), "utf8")) as {
    scripts: Record<string, string>;
  };
  const env = {
    PERCH_PORT: port,
    npm_config_prefer_offline: "true",
    npm_config_audit: "false",
    npm_config_fund: "false",
  };
  const seen: string[] = [];
  for (const [nth, { language, text }] of blocks.entries()) {
    if (language === "mermaid" || language === "text") continue;
    if (language === "js") {
      const [, name] = /^\/\/ (\S+)\n/.exec(text) ?? [];
      await writeFile(join(folder, name ?? "unnamed"), text);
      continue;
    }
    seen.push(text.trim());
    if (text === "npm ci && npm start\n") {
      // Of a clone. What it starts is what the next sentence says a project starts.
      expect(scripts.start).toBe("node dist/bin/perch.js start");
      const serving = spawn("npx", ["perch", "start"], {
        cwd: folder,
        env: { ...environment(), ...env },
        detached: true,
      });
      onTestFinished(() => {
        if (serving.pid && serving.exitCode === null) process.kill(-serving.pid, "SIGKILL");
      });
      let printed = "";
      serving.stdout.setEncoding("utf8").on("data", (more: string) => {
        printed += more;
      });
      await expect.poll(() => printed, { timeout: 120_000 }).toContain("Ctrl-C stops it.");
      continue;
    }
    if (text.startsWith("npm ci && npm test\n")) {
      // Of a clone. `npm test` is what runs this, and the others take minutes each: so it is looked at what they do, not done.
      const clean = await runProgram("npm", ["ci", "--dry-run", "--ignore-scripts", "--prefer-offline"], {
        cwd: packageRoot,
      });
      expect(clean.code, clean.stderr).toBe(0);
      expect(scripts.test).toBe("vitest run");
      for (const [, script = ""] of text.matchAll(/^npm run (\S+)$/gm)) {
        expect(scripts).toHaveProperty([script]);
        const programs = [...(scripts[script] ?? "").matchAll(/\bnode build\/(\S+)\.js\b/g)].map(([, path]) => path);
        expect(programs, script).not.toEqual([]);
        for (const path of programs) await access(join(packageRoot, `${path}.ts`));
      }
      continue;
    }
    const next = blocks[nth + 1];
    const expected = next?.language === "text" ? next.text.trimEnd().split("\n") : [];
    const run = () => runProgram("sh", ["-ec", text], { cwd: folder, env });
    const isShown = { code: 0, stdout: expect.toSatisfy((out: string) => expected.every((line) => shows(out, line))) };
    // A record follows what is typed into its document after a moment; nothing else may need a second try.
    if (/\bselect .* from perch\.records\b/.test(text)) await expect.poll(run).toMatchObject(isShown);
    else expect(await run()).toMatchObject(isShown);
  }
  expect(seen.length).toBeGreaterThan(7);
}, 300_000);

/** Whether a line was printed; "…" at its end stands for whatever follows. */
const shows = (out: string, line: string) =>
  line.endsWith("…") ? out.includes(line.slice(0, -1)) : out.split("\n").some((each) => each.trim() === line.trim());
