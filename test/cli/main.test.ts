import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { workerSecret } from "../../scripts/support/user-token.js";
import { emptyDatabase } from "../support/databases.js";
import { runPerch, runProgram } from "../support/processes.js";

describe("perch", () => {
  it("lists its commands on --help, and on nothing, which is wrong use", async () => {
    const help = await runPerch(["--help"]);
    expect(help).toMatchObject({ code: 0, stderr: "" });
    expect(help.stdout).toMatch(/^Usage: perch COMMAND.*^ {2}migrate /ms);
    expect(await runPerch([])).toEqual({ code: 2, stdout: "", stderr: help.stdout });
  });

  it("says its version", async () => {
    expect((await runPerch(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it("explains every command it lists", async () => {
    const { stdout } = await runPerch(["--help"]);
    const names = [...stdout.matchAll(/^ {2}([a-z]+) /gm)]
      .map(([, name]) => name ?? "")
      .filter((name) => name !== "perch");
    expect(names).toContain("migrate");
    for (const name of names) {
      const help = await runPerch([name, "--help"]);
      expect(help).toMatchObject({ code: 0, stderr: "" });
      expect(help.stdout).toMatch(new RegExp(`^Usage: perch ${name}`));
    }
  });

  it("completes commands and options in a shell", async () => {
    const { stdout: script } = await runPerch(["completion", "bash"]);
    const complete = async (...words: string[]) => {
      const line = words.map((word) => `'${word}'`).join(" ");
      const bash = `${script}COMP_WORDS=(${line}); COMP_CWORD=${words.length - 1}; _perch; echo "\${COMPREPLY[@]}"`;
      return (await runProgram("bash", ["-c", bash])).stdout.trim().split(" ");
    };
    expect(await complete("perch", "st")).toEqual(["start"]);
    expect(await complete("perch", "migrate", "")).toEqual(
      expect.arrayContaining(["up", "down", "status", "sql", "--help"]),
    );
    expect(await complete("perch", "start", "--p")).toEqual(["--port"]);
    expect(await complete("perch", "completion", "f")).toEqual(["fish"]);
    const all = [...(await runPerch(["--help"])).stdout.matchAll(/^ {2}([a-z]+) {2}/gm)].map(([, name]) => name);
    expect(await complete("perch", "")).toEqual(expect.arrayContaining(all));
    for (const shell of ["zsh", "fish"]) {
      const other = await runPerch(["completion", shell]);
      expect(other).toMatchObject({ code: 0, stderr: "" });
      for (const name of all) expect(other.stdout).toContain(` ${name}`.replace(" ", shell === "zsh" ? "'" : "-a "));
    }
    expect(await runPerch(["completion", "csh"])).toMatchObject({ code: 2, stdout: "" });
  });

  it.each([
    [["frobnicate"], 'unknown command "frobnicate"', "perch --help"],
    [["constructor"], 'unknown command "constructor"', "perch --help"],
    [["mgirate"], "did you mean migrate?", "perch --help"],
    [["migrate", "sideways"], 'unknown action "sideways"', "perch migrate --help"],
    [["migrate", "up", "now"], 'unexpected argument "now"', "perch migrate --help"],
    [["migrate", "--nonsense"], "unknown option --nonsense\n", "perch migrate --help"],
    [["worker", "--prot", "80"], "unknown option --prot; did you mean --port?", "perch worker --help"],
    [["migrate", "-x"], "unknown option -x\n", "perch migrate --help"],
    [["migrate", "down", "--count", "0"], "--count must be", "perch migrate --help"],
  ])("takes %j for wrong use: exit code 2 and where to read", async (args, message, see) => {
    const result = await runPerch(args);
    expect(result).toMatchObject({ code: 2, stdout: "" });
    expect(result.stderr).toContain(message);
    expect(result.stderr).toContain(`See: ${see}\n`);
  });

  it.each([
    ["postgres://u:50%secret@127.0.0.1:1/x", "is written %25"],
    ["postgres://u:secret@127.0.0.1:1/x%", "is written %25"],
    ["postgres://u:secret@127.0.0.1:99999/x", "cannot be read"],
    ["postgres://u:secret@127.0.0.1:1/x?sslmode=requird", "unknown sslmode: expected disable,"],
    [
      "postgres://u:secret@127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/none.pem",
      "as sslrootcert that cannot be read: /none.pem",
    ],
  ])("takes the URL %s for wrong use, and keeps its password to itself", async (url, message) => {
    const { code, stdout, stderr } = await runPerch(["migrate"], { env: { DATABASE_URL: url } });
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr).not.toContain("secret");
  });

  it.each([["migrate"], ["doctor"], ["worker", "--port", "0"], ["export", "--user", "ann", "--out", "x"]])(
    "fails with exit code 1 and a reason when the database of perch %s cannot be reached",
    async (...args) => {
      const key = args[0] === "worker" ? { PERCH_JWT_SECRET: workerSecret } : {};
      const env = { ...key, DATABASE_URL: "postgres://nobody:secret@127.0.0.1:1/none" };
      expect(await runPerch(args, { env })).toEqual({
        code: 1,
        stdout: "",
        stderr: "perch: cannot reach the database 127.0.0.1:1/none: nothing listens there\n",
      });
    },
  );

  it.each(["mysql://u:secret@h/d", "postgres://u:secret@h:port/d"])(
    "takes the database URL %s for wrong use, and does not repeat it",
    async (url) => {
      const result = await runPerch(["migrate"], { env: { DATABASE_URL: url } });
      expect(result).toMatchObject({ code: 2, stdout: "" });
      expect(result.stderr).toMatch(/expected postgres:\/\//);
      expect(result.stderr).not.toContain("secret");
    },
  );

  it("makes no embedded database only to look into it", async () => {
    const cwd = await mkdtemp(join(tmpdir(), "perch-cli-"));
    onTestFinished(() => rm(cwd, { recursive: true }));
    for (const args of [["doctor"], ["export", "--user", "ann", "--out", "x"]]) {
      const result = await runPerch(args, { cwd });
      expect(result).toMatchObject({ code: 1, stdout: "" });
      expect(result.stderr).toContain("there is no embedded database");
      expect(result.stderr).toContain("perch start");
    }
    expect(await readdir(cwd)).toEqual([]);
  });

  it("says what to do when the database was never migrated", async () => {
    const env = { DATABASE_URL: await emptyDatabase() };
    const cwd = await mkdtemp(join(tmpdir(), "perch-cli-"));
    onTestFinished(() => rm(cwd, { recursive: true }));
    const result = await runPerch(["export", "--user", "ann", "--out", "x"], { env, cwd });
    expect(result).toMatchObject({ code: 1, stdout: "" });
    expect(result.stderr).toContain("run: perch migrate up");
  });
});

describe("perch migrate", () => {
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "perch-cli-"));
  });

  afterAll(() => rm(folder, { recursive: true }));

  it.each(["status", "down", "down --yes"])("%s makes no embedded database to look at", async (asked) => {
    const cwd = await mkdtemp(join(tmpdir(), "perch-cli-"));
    onTestFinished(() => rm(cwd, { recursive: true }));
    expect(await runPerch(["migrate", ...asked.split(" ")], { cwd })).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("there is no embedded database in"),
    });
    expect(await readdir(cwd)).toEqual([]);
  });

  it.each(["the embedded database", "Postgres"])("goes up, reports and goes down on %s", async (kind) => {
    const url = kind === "Postgres" ? await emptyDatabase() : `pglite:${join(folder, "perch")}`;
    const perch = (...args: string[]) => runPerch([...args, "--database-url", url]);

    if (kind === "Postgres")
      expect(await perch("migrate", "status")).toMatchObject({
        code: 1,
        stdout: expect.stringMatching(/^missing {2}0001_spaces$/m),
      });
    expect(await perch("migrate")).toMatchObject({ code: 0, stdout: expect.stringMatching(/^applied 0001_spaces$/m) });
    expect(await perch("migrate", "up")).toEqual({ code: 0, stdout: "up to date, nothing to do\n", stderr: "" });
    expect(await perch("migrate", "status")).toMatchObject({ code: 0, stdout: expect.stringMatching(/^up to date$/m) });
    expect(await perch("migrate", "down")).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/^takes back \d{4}_\w+.*nothing was done; with --yes it is\n$/s),
    });
    expect(await perch("migrate", "down", "--yes")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^took back \d{4}_\w+\n$/),
    });
    expect(await perch("migrate", "status")).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/run: perch migrate up\n$/),
    });
  });
});
