import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requireRoles } from "../../src/cli/connect.js";
import { examine } from "../../src/cli/doctor-checks.js";
import { migrate } from "../../src/database/migrate.js";
import { migrationStatus } from "../../src/database/migration-status.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import { somePostgres } from "../support/databases.js";
import { type PostgresServer, startPostgresServer } from "../support/postgres-server.js";
import { runPerch } from "../support/processes.js";
import { schemaLines } from "../support/schema.js";

// Roles belong to the cluster, so whoever watches them being made needs clusters without them.
const version = somePostgres();

describe(`migrating a cluster of Postgres ${version}`, () => {
  let server: PostgresServer;
  const pools: Database[] = [];

  function connect(database: string, login = "postgres"): Database {
    const url = new URL(server.url(database));
    url.username = login;
    // Idle connections of databases that are dropped underneath them are expected to break.
    const pool = openPostgres({ url: url.href, onError: () => undefined });
    pools.push(pool);
    return pool;
  }

  async function database(): Promise<string> {
    const name = `d_${randomBytes(4).toString("hex")}`;
    await connect("postgres").query(`create database ${name}`);
    return name;
  }

  async function forgetRoles(): Promise<void> {
    const admin = connect("postgres");
    const names = await admin.query<{ datname: string }>("select datname from pg_database where datname like 'd\\_%'");
    for (const { datname } of names) await admin.query(`drop database ${datname} with (force)`);
    for (const role of ["perch_owner", "perch_app", "perch_worker"]) await admin.query(`drop role if exists ${role}`);
  }

  beforeAll(async () => {
    server = await startPostgresServer({ version });
  });

  afterAll(async () => {
    await Promise.all(pools.map((pool) => pool.close()));
    await server.close();
  });

  it("takes many processes at once on one empty database, all of which succeed", async () => {
    await forgetRoles();
    const name = await database();
    const processes = 20;
    const runs = await Promise.all(
      Array.from({ length: processes }, () => runPerch(["migrate"], { env: { DATABASE_URL: server.url(name) } })),
    );
    expect(runs.filter(({ code }) => code !== 0)).toEqual([]);
    expect(runs.filter(({ stdout }) => stdout.includes("applied 0001"))).toHaveLength(1);
    expect(runs.filter(({ stdout }) => stdout.includes("nothing to do"))).toHaveLength(processes - 1);
    const status = await migrationStatus(connect(name));
    expect(status).toMatchObject({ pending: [], unknown: [], changedFiles: [] });
  });

  it("takes several databases of one cluster at once", async () => {
    await forgetRoles();
    const names = [await database(), await database(), await database(), await database()];
    await Promise.all(names.flatMap((name) => [migrate(connect(name)), migrate(connect(name))]));
    const schemas = await Promise.all(names.map((name) => schemaLines(connect(name))));
    for (const schema of schemas) expect(schema).toEqual(schemas[0]);
  });

  it("needs no superuser, only CREATEROLE and CREATE on the database", async () => {
    await forgetRoles();
    const [plain, reference] = [await database(), await database()];
    const admin = connect("postgres");
    await admin.query("create role migrator login createrole nosuperuser");
    await admin.query(`grant create on database ${plain} to migrator`);

    const migrator = connect(plain, "migrator");
    const { migrations } = await migrate(migrator);
    expect(migrations.length).toBeGreaterThan(0);
    expect(await migrate(migrator)).toEqual({ migrations: [], changedFiles: [], mended: [], differences: [] });
    expect(
      await migrator.query(
        "select pg_has_role('perch_app', 'usage') and pg_has_role('perch_worker', 'usage') as serves",
      ),
    ).toEqual([{ serves: true }]);
    const down = await migrate(migrator, { direction: "down", count: 1000 });
    expect(down.migrations).toHaveLength(migrations.length);
    await migrate(migrator);

    await migrate(connect(reference));
    expect(await schemaLines(connect(plain))).toEqual(await schemaLines(connect(reference)));

    // A login of another name and the same rights made none of the roles: it is told what to ask for.
    await admin.query("create role second login createrole nosuperuser");
    const other = await database();
    await admin.query(`grant create on database ${other} to second`);
    const second = connect(other, "second");
    if (version >= 16) {
      await expect(migrate(second)).rejects.toThrow(
        /second is not a member of perch_owner, perch_app, perch_worker.*grant perch_owner, perch_app, perch_worker to second/,
      );
      await admin.query("grant perch_owner, perch_app, perch_worker to second");
    }
    await migrate(second);

    await forgetRoles();
    await admin.query("drop role migrator, second");
  });

  it("needs neither where a DBA has made the roles, the schema and the memberships", async () => {
    await forgetRoles();
    const name = await database();
    const admin = connect(name);
    for (const role of ["perch_owner", "perch_app", "perch_worker"]) await admin.query(`create role ${role} nologin`);
    await admin.query("create role plain login");
    await admin.query("grant perch_owner, perch_app, perch_worker to plain");
    await admin.query("create schema perch authorization perch_owner");
    await migrate(connect(name, "plain"));
    await forgetRoles();
    await admin.close();
    await connect("postgres").query("drop role plain");
  });

  it("refuses a perch_owner whom row level security would not bind", async () => {
    await forgetRoles();
    const name = await database();
    await connect("postgres").query("create role perch_owner bypassrls");
    await expect(migrate(connect(name))).rejects.toThrow(/neither superuser nor BYPASSRLS/);
    await connect("postgres").query("alter role perch_owner superuser nobypassrls");
    await expect(migrate(connect(name))).rejects.toThrow(/neither superuser nor BYPASSRLS/);
  });

  it.each(["LATIN1", "SQL_ASCII"])("refuses a database of encoding %s, saying why", async (encoding) => {
    const name = await database();
    const admin = connect("postgres");
    await admin.query(`drop database ${name}`);
    await admin.query(
      `create database ${name} encoding '${encoding}' locale_provider libc locale 'C' template template0`,
    );
    await expect(migrate(connect(name))).rejects.toThrow(
      new RegExp(`needs a database of encoding UTF8, and this one is ${encoding}.*create database`),
    );
    expect((await examine(connect(name))).find(({ name: check }) => check === "server")).toMatchObject({
      level: "error",
      detail: expect.stringContaining(encoding),
    });
  });

  it("tells a login that does not inherit the roles it is a member of what is lacking", async () => {
    await forgetRoles();
    const name = await database();
    await migrate(connect(name));
    const admin = connect("postgres");
    const inherit = version >= 16 ? " with inherit false" : "";
    await admin.query("create role plain login noinherit");
    await admin.query(`grant perch_worker, perch_app to plain${inherit}`);
    await expect(requireRoles(connect(name, "plain"))).rejects.toThrow(
      /plain is a member of perch_worker, perch_app without inheriting; a DBA can run: grant .* with inherit true/,
    );
    const url = new URL(server.url(name));
    url.username = "plain";
    const doctor = await runPerch(["doctor"], { env: { DATABASE_URL: url.href } });
    expect(doctor).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/plain is a member of perch_worker without/),
    });
    await admin.query(`grant perch_worker, perch_app to plain${version >= 16 ? " with inherit true" : ""}`);
    await admin.query("alter role plain inherit");
    await requireRoles(connect(name, "plain"));
    await admin.query("drop role plain");
  });

  it("leaves nothing behind of a schema that belongs to somebody else", async () => {
    await forgetRoles();
    const name = await database();
    await connect(name).query("create schema perch");
    await expect(migrate(connect(name))).rejects.toThrow(
      /belongs to somebody else.*alter schema perch owner to perch_owner/,
    );
    expect(await connect(name).query("select 1 from pg_roles where rolname = 'perch_owner'")).toEqual([]);
  });
});
