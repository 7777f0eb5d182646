import { chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { examine } from "../../src/cli/doctor-checks.js";
import { migrate } from "../../src/database/migrate.js";
import { openPostgres } from "../../src/database/postgres.js";
import type { Database } from "../../src/database/types.js";
import {
  durable,
  type PostgresServer,
  type PostgresVersion,
  postgresBinaries,
  startPostgresServer,
} from "../support/postgres-server.js";
import { runPerch } from "../support/processes.js";
import { startTransactionPooler } from "../support/transaction-pooler.js";

const versions = ([18, 15] as PostgresVersion[]).filter((version) => postgresBinaries(version) !== undefined);

describe.each(versions)("perch doctor on a server of Postgres %i", (version) => {
  let server: PostgresServer;
  let db: Database;

  const open = (login = "postgres") => {
    const url = new URL(server.url());
    url.username = login;
    const opened = openPostgres({ url: url.href, onError: () => undefined });
    onTestFinished(() => opened.close());
    return opened;
  };

  beforeAll(async () => {
    server = await startPostgresServer({ version });
    db = openPostgres({ url: server.url(), onError: () => undefined });
    await migrate(db);
  });
  afterAll(async () => {
    await db.close();
    await server.close();
  });

  const finding = async (name: string, as: Database = db, options = {}) =>
    (await examine(as, options)).filter((each) => each.name === name);

  /** A setting of the server, for one test. */
  async function set(name: string, value: string): Promise<void> {
    const reload = async (sql: string) => {
      await db.query(sql);
      await db.query("select pg_reload_conf()");
    };
    await reload(`alter system set ${name} = ${value}`);
    onTestFinished(() => reload(`alter system reset ${name}`));
    const wanted = value.replaceAll("'", "");
    await expect.poll(async () => (await db.query(`show ${name}`))[0]).toEqual({ [name]: wanted });
  }

  it("says that commits wait for a standby that is not there", async () => {
    // What doctor itself commits must not wait.
    await set("synchronous_standby_names", "'nosuch'");
    expect(await finding("standbys")).toMatchObject([
      {
        level: "error",
        detail: expect.stringContaining("none is connected"),
        remedy: expect.stringContaining("reload"),
      },
    ]);
  });

  it("names slots that nobody reads, and what they keep", async () => {
    await db.query("select pg_create_physical_replication_slot('dead', true)");
    onTestFinished(async () => void (await db.query("select pg_drop_replication_slot('dead')")));
    expect(await finding("replication slots")).toMatchObject([
      { level: "warning", remedy: expect.stringContaining("pg_drop_replication_slot('dead')") },
    ]);
  });

  it("says where autovacuum is off", async () => {
    await set("autovacuum", "off");
    await db.query("alter table perch.sync_changes set (autovacuum_enabled = false)");
    onTestFinished(async () => void (await db.query("alter table perch.sync_changes reset (autovacuum_enabled)")));
    const remedies = (await finding("autovacuum")).map(({ remedy }) => remedy);
    expect(remedies).toContain("alter table perch.sync_changes reset (autovacuum_enabled)");
    expect(remedies).toHaveLength(2);
  });

  it("says when few connections are left to a login", async () => {
    await db.query("create role crowded login connection limit 4 in role perch_worker, perch_app");
    onTestFinished(async () => void (await db.query("drop role crowded")));
    expect(await finding("connections", open("crowded"))).toMatchObject([
      { level: "warning", detail: expect.stringMatching(/^the login crowded has \d of 4/) },
    ]);
  });

  it("says that a login is above row level security", async () => {
    await db.query("create role above login bypassrls in role perch_worker, perch_app");
    onTestFinished(async () => void (await db.query("drop role above")));
    expect(await finding("login", open("above"))).toMatchObject([
      { level: "warning", detail: expect.stringContaining("above has BYPASSRLS") },
    ]);
  });

  it("says of a policy that is not perch's whether it lets in or keeps out, and migrating drops only the first", async () => {
    await db.transaction((tx) =>
      tx.script(`create policy everybody on perch.stored_records using (true);
                 create policy nobody on perch.sync_changes as restrictive using (false)`),
    );
    onTestFinished(async () => void (await db.query("drop policy nobody on perch.sync_changes")));
    const levels = async () =>
      (await finding("catalog")).map(({ level, detail }) => [level, /policy (\S+)/.exec(detail)?.[1] ?? detail]);
    expect(await levels()).toEqual([
      ["error", "everybody"],
      ["warning", "nobody"],
    ]);
    const { mended, differences } = await migrate(db);
    expect(mended).toEqual([
      expect.stringMatching(/stored_records: policy everybody all to public using true is not perch's/),
    ]);
    expect(differences).toMatchObject([
      { detail: expect.stringContaining("policy nobody restrictive"), level: "warning" },
    ]);
    expect(await levels()).toEqual([["warning", "nobody"]]);
  });

  it("says who has a transaction open, what that has locked, and how many wait for it", async () => {
    const push = `select perch.push('app', '[{"op": "insert", "table": "t", "id": "1"}]', 'c')`;
    const [holder, waiter] = [open(), open()];
    let letGo: () => void = () => undefined;
    const released = new Promise<void>((done) => {
      letGo = done;
    });
    const pushing = (as: Database, until: Promise<void>, began: () => void = () => undefined) =>
      as.transaction(async (tx) => {
        await tx.query("select perch.set_context('zoe')");
        await tx.query(push);
        began();
        await until;
      });
    // The space is there already; of one that is only now made, nobody else can know.
    await pushing(holder, Promise.resolve());
    let holding: Promise<void> | undefined;
    await new Promise<void>((began) => {
      holding = pushing(holder, released, began);
    });
    const waiting = pushing(waiter, Promise.resolve());
    await expect
      .poll(() => finding("transactions", db, { longSeconds: 0 }))
      .toContainEqual(
        expect.objectContaining({
          level: "warning",
          detail: expect.stringMatching(/has locked rows of .*space_heads.*; holds space ~zoe.*; 1 wait for it/),
          remedy: expect.stringMatching(/pg_terminate_backend\(\d+\)/),
        }),
      );
    letGo();
    await Promise.all([holding, waiting]);
    expect(await finding("transactions")).toMatchObject([{ level: "ok" }]);
  });

  it("says that a server whose files may not outlive a crash is wrong", async () => {
    // As the tests' servers are.
    expect(await finding("durability")).toMatchObject([{ level: "error", remedy: expect.stringContaining("fsync") }]);
  });

  it("says only that a proxy pools statements, where transactions come to nothing", async () => {
    const pooler = await startTransactionPooler(server.port, 3, "statement");
    onTestFinished(() => pooler.close());
    const pooled = openPostgres({ url: pooler.url(server.url()), onError: () => undefined });
    onTestFinished(() => pooled.close());
    expect((await examine(pooled)).filter(({ name }) => name !== "server")).toEqual([
      {
        name: "transactions",
        level: "error",
        detail: expect.stringContaining("pools statements"),
        remedy: expect.stringContaining("pool_mode = transaction"),
      },
    ]);
  });

  it("names a lease that is held for long", async () => {
    await db.transaction(async (tx) => {
      await tx.query("select perch.set_tenant('agents')");
      await tx.query("select perch.acquire_lease(thread_id => 'run', holder => 'w1', duration => '1 hour')");
      await tx.query("update perch.thread_leases set expires_at = clock_timestamp() + interval '1 day'");
    });
    const [found] = await finding("leases");
    expect(found).toMatchObject({ level: "warning", detail: "thread run of agents is held by w1 for another 24 h" });
  });
});

it("perch doctor says only that it was given a standby", async () => {
  const parent = await mkdtemp(join(tmpdir(), "perch-standby-"));
  await chmod(parent, 0o777);
  onTestFinished(() => rm(parent, { recursive: true, force: true }));
  const server = await startPostgresServer({ parent });
  onTestFinished(() => server.close());
  await server.stop();
  const [own = ""] = await readdir(parent);
  await writeFile(join(parent, own, "data", "standby.signal"), "");
  await server.start();
  const result = await runPerch(["doctor", "--json", "--database-url", server.url()]);
  const findings = result.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(result.code).toBe(1);
  expect(findings).toMatchObject([
    { name: "server", level: "ok" },
    {
      name: "server",
      level: "error",
      detail: expect.stringContaining("standby"),
      remedy: expect.stringContaining("primary"),
    },
  ]);
});

it("perch doctor ends with 0 where nothing is wrong, and warns of a login that does not wait for the disk", async () => {
  const settings = durable;
  const server = await startPostgresServer({ settings });
  onTestFinished(() => server.close());
  const doctor = () => runPerch(["doctor", "--database-url", server.url()]);
  expect((await runPerch(["migrate", "--database-url", server.url()])).code).toBe(0);
  const well = await doctor();
  expect(well).toMatchObject({ code: 0, stderr: "" });
  expect(well.stdout).toMatch(/^ok +durability: commits wait for the disk$/m);
  const db = openPostgres({ url: server.url() });
  await db.query("alter role postgres set synchronous_commit = off");
  await db.close();
  expect((await doctor()).stdout).toMatch(/^warning +durability: off: synchronous_commit/m);
});
