import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { perchProcess } from "../../scripts/support/perch-process.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import { emptyDatabase } from "../support/databases.js";
import { runPerch } from "../support/processes.js";

let folder: string;
let url: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "perch-sql-"));
  expect((await runPerch(["migrate"], { cwd: folder })).code).toBe(0);
  url = await emptyDatabase();
  const db = openPostgres({ url, poolSize: 1 });
  await migrate(db);
  await db.close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const places = {
  "the embedded database": async () => ({ cwd: folder }),
  "the embedded database that perch start is serving": async () => {
    const perch = await perchProcess({ cwd: folder });
    onTestFinished(() => perch.kill());
    await perch.start();
    return { cwd: folder };
  },
  "a server": async () => ({ env: { DATABASE_URL: url } }),
};

describe.each(Object.entries(places))("perch sql on %s", (_, open) => {
  it("prints what statements return, what they did, and what they refuse, and ends accordingly", async () => {
    const where = await open();
    const sql = (text: string, input?: string) => runPerch(["sql", text], { ...where, ...(input ? { input } : {}) });

    expect(await sql("select 1 as n, 'ü日' as text, null as nothing, 12345678901234567890.10 as exact")).toEqual({
      code: 0,
      stdout: [
        " n | text | nothing |                   exact",
        "---+------+---------+-------------------------",
        " 1 | ü日  |         | 12345678901234567890.10",
        "(1 row)",
        "",
        "",
      ].join("\n"),
      stderr: "",
    });
    const several =
      "create table pairs (a int, b text); insert into pairs values (1, 'x'), (20, E'y\\nz\\x1b'); table pairs";
    expect(await sql(several)).toEqual({
      code: 0,
      stdout: "CREATE TABLE\nINSERT 2\n  a | b\n----+---------\n  1 | x\n 20 | y↵z\\x1b\n(2 rows)\n\n",
      stderr: "",
    });
    // Read from standard input; a statement that returns no rows still shows its columns.
    expect(await sql("-", "update pairs set b = 'w' where a = 1;\nselect b from pairs where false;\n")).toEqual({
      code: 0,
      stdout: "UPDATE 1\n b\n---\n(0 rows)\n\n",
      stderr: "",
    });
    // All or nothing, and where the fault is.
    expect(await sql("delete from pairs;\nselect 'ü😀', nonsense\nfrom pairs")).toEqual({
      code: 1,
      stdout: "",
      stderr: [
        'perch: column "nonsense" does not exist (42703)',
        "line 2: select 'ü😀', nonsense",
        "                      ^",
        "",
      ].join("\n"),
    });
    expect((await sql("select count(*) from pairs")).stdout).toContain("\n     2\n");
    const refused = await sql("select perch.set_context('')");
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toMatch(/^perch: unauthenticated: .* \(PE401\)\ndetail: .*\nhint: Pass the id of the user/s);
    const noticed = await sql("drop table pairs; drop table if exists pairs");
    expect(noticed).toMatchObject({ code: 0, stdout: "DROP TABLE\nDROP TABLE\n" });
    expect(noticed.stderr).toBe('notice: table "pairs" does not exist, skipping\n');
    // As in the help.
    const asUser = "set local role perch_app; select perch.set_context('ann'); select * from perch.records";
    expect((await sql(asUser)).stdout).toMatch(/^SET\n set_context\n.*\(1 row\)\n\n space_id /s);
  });
});

describe("beside a running perch start", () => {
  it("commands that only look go through it; those that would change the schema under it are refused", async () => {
    const perch = await perchProcess({ cwd: folder });
    onTestFinished(() => perch.kill());
    await perch.start();
    const status = await runPerch(["migrate", "status"], { cwd: folder });
    expect(status).toMatchObject({ code: 0, stdout: expect.stringMatching(/^up to date$/m) });
    const doctor = await runPerch(["doctor"], { cwd: folder });
    expect(doctor, doctor.stdout).toMatchObject({ code: 0, stdout: expect.stringContaining("PGlite") });
    const exported = await runPerch(["export", "--user", "ann", "--out", "ann.gz"], { cwd: folder });
    expect(exported).toMatchObject({ code: 0, stderr: expect.stringContaining("exported 0 changes") });
    const down = await runPerch(["migrate", "down"], { cwd: folder });
    expect(down).toMatchObject({ code: 1, stderr: expect.stringMatching(/in use by process \d+; stop it first/) });
  });
});

describe("perch sql", () => {
  it("says what is missing or wrong", async () => {
    const nowhere = await mkdtemp(join(tmpdir(), "perch-sql-"));
    onTestFinished(() => rm(nowhere, { recursive: true, force: true }));
    expect(await runPerch(["sql"], { cwd: nowhere })).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("which SQL?"),
    });
    const twice = await runPerch(["sql", "select", "1"], { cwd: nowhere });
    expect(twice).toMatchObject({ code: 2, stderr: expect.stringContaining("put the SQL in quotes") });
    const psqls = await runPerch(["sql", "\\d"], { cwd: nowhere });
    expect(psqls).toMatchObject({ code: 2, stderr: expect.stringContaining("a command of psql's") });
    const none = await runPerch(["sql", "select 1"], { cwd: nowhere });
    expect(none).toMatchObject({ code: 1, stderr: expect.stringContaining("there is no embedded database in") });
    const away = await runPerch(["sql", "select 1", "--database-url", "postgres://u:secret@127.0.0.1:1/x"]);
    expect(away).toMatchObject({ code: 1, stderr: expect.stringContaining("nothing listens there") });
    expect(away.stderr).not.toContain("secret");
    const other = await runPerch(["sql", "select 1", "--database-url", "mysql://root@x/y"]);
    expect(other).toMatchObject({ code: 2, stderr: expect.stringContaining("unknown kind of database URL") });
  });
});
