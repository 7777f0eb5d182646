/** What a login of the database may do beside perch's functions: neither lift a limit nor stop others at work. */
import { beforeAll, expect, it } from "vitest";
import { readMigrationSources } from "../../src/database/migration-sources.js";
import { declare } from "../documents/live/support.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../support/databases.js";

describeEachEngine("limits", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });

  const push = (change: object) => [
    "select perch.push(app_id => 'a', client_id => 'c', changes => $1::jsonb) -> 'results' -> 0 as result",
    [JSON.stringify([{ op: "insert", table: "t", id: "x", ...change }])],
  ];

  async function pushWith(settings: string, change: object): Promise<unknown> {
    const app = await t.login("perch_app");
    return app.transaction(async (tx) => {
      await tx.script(`${settings}; select perch.set_context(user_id => 'ada')`);
      const [row] = await tx.query<{ result: unknown }>(...(push(change) as [string, unknown[]]));
      return row?.result;
    });
  }

  it("are not lifted by a session's settings, and may be narrowed by them", async () => {
    const long = { data: { text: "x".repeat(1_100_000) } };
    expect(await pushWith("set local perch.max_change_bytes = '100000000'", long)).toMatchObject({
      status: "rejected",
      error: { code: "PE413", detail: { max: 1_048_576 } },
    });
    expect(
      await pushWith("set local perch.max_change_bytes = '50'", { data: { text: "x".repeat(100) } }),
    ).toMatchObject({
      error: { code: "PE413", detail: { max: 50 } },
    });
  });

  it("hold a clock that runs ahead, whatever the session says of the tolerance", async () => {
    await pushWith("set local perch.clock_tolerance_ms = '200000000000000'", {
      id: "late",
      at: "8000-01-01T00:00:00Z",
    });
    const [record] = await t.asUser("ada", (tx) =>
      tx.query(
        "select latest_at < clock_timestamp() + interval '1 minute' as held from perch.stored_records where record_id = 'late'",
      ),
    );
    expect(record).toEqual({ held: true });
  });

  it("are the DBA's to set, for everybody and at once", async () => {
    const app = await t.login("perch_app");
    for (const sql of [
      "select perch.set_limit(name => 'max_change_bytes', value => 1)",
      "insert into perch.limits (name, value) values ('max_change_bytes', 1)",
    ])
      await expect(app.query(sql)).rejects.toMatchObject({ code: "42501" });
    const set = (name: string, value: number | null) =>
      t.db.query("select perch.set_limit(name => $1, value => $2)", [name, value]);
    const long = { id: "long", data: { text: "x".repeat(1_100_000) } };
    await set("max_change_bytes", 2_000_000);
    expect(await pushWith("select", long)).toMatchObject({ status: "applied" });
    await set("max_change_bytes", null);
    expect(await pushWith("select", long)).toMatchObject({ error: { code: "PE413", detail: { max: 1_048_576 } } });
    await expect(set("max_chnge_bytes", 1)).rejects.toMatchObject({ code: "PE422" });
    await expect(set("max_change_bytes", -1)).rejects.toMatchObject({ code: "PE422" });
  });

  it("hold however their table was written, and of two set at once both", async () => {
    const values = async () => (await t.db.query<{ now: object }>("select perch.limit_values() as now"))[0]?.now;
    const before = await values();
    await t.db.query("insert into perch.limits (name, value) values ('max_fields', 7)");
    expect(await values()).toEqual({ ...before, max_fields: 7 });
    await Promise.all(
      ["max_fields", "prune_batch"].map((name) => t.db.query("select perch.set_limit(name => $1, value => 9)", [name])),
    );
    expect(await values()).toEqual({ ...before, max_fields: 9, prune_batch: 9 });
    await t.db.query("delete from perch.limits where name in ('max_fields', 'prune_batch')");
    expect(await values()).toEqual(before);
  });

  it("can all be set: each that a function asks for is known by name", async () => {
    const asked = new Set<string>();
    for (const { text } of (await readMigrationSources()).files)
      for (const [, name = ""] of text.matchAll(/perch\.setting\('(\w+)'/g)) asked.add(name);
    const known = await t.db
      .query("select perch.set_limit(name => 'none', value => 1)")
      .catch((error) => error.detail.expected);
    expect([...asked].sort()).toEqual(known);
  });
});

describeEachPostgres("a login without any rights", (open) => {
  it("keeps no new space from its numbers, and no import waiting, by locks on whatever text", async () => {
    const t = await open();
    const stranger = await t.login("stranger");
    await stranger.transaction(async (tx) => {
      await tx.query(
        `select pg_advisory_xact_lock(hashtextextended(kind || ' ' || name, 0))
           from unnest(array['perch.space_heads', 'perch.restore_changes']) kind, unnest(array['~ada', 'ada', 'team']) name`,
      );
      await t.asUser("ada", async (mine) => {
        await mine.query("set local lock_timeout = '2s'");
        const [row] = await mine.query<{ pushed: { results: { seq: number | null }[] } }>(
          `select perch.push('app', '[{"op": "insert", "table": "t", "id": "a", "data": {}}]', 'c') as pushed`,
        );
        expect(row?.pushed.results).toMatchObject([{ status: "applied", seq: 1 }]);
        await mine.query("select * from perch.restore_changes(lines => '[]', from_user => 'ada', from_epoch => 'x')");
      });
    });
  });

  it("cannot lock what perch locks, nor are there keys to be taken before it", async () => {
    const t = await open();
    await declare(t);
    const stranger = await t.login("stranger");
    const app = await t.login("perch_app");
    for (const login of [stranger, app])
      for (const sql of ["select from perch.document_locks for update", "lock table perch.migrations in share mode"])
        await expect(login.transaction((tx) => tx.query(sql))).rejects.toMatchObject({ code: "42501" });

    const page = "app_id => 'notes', table_name => 'pages', record_id => 'p1'";
    await t.asUser("ada", (tx) => tx.query(`select perch.patch_document(${page}, patch => '{"title": "x"}')`));
    const taken = async () =>
      t.db.query(
        "select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())",
      );
    await t.asUser("ada", async (tx) => {
      await tx.query(`select perch.lock_document(${page})`);
      await tx.query(
        `select from perch.open_in_transaction(${page}, space_id => null, to_write => true, known_spaces => '{}', known_seqs => '{}')`,
      );
      await t.asWorker(async (worker) => {
        expect(await worker.query(`select seq from perch.claim_inbox(space_id => '~ada', ${page})`)).toHaveLength(1);
        expect(await taken()).toEqual([]);
      });
    });
  });
});
