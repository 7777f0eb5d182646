import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { migrate } from "../../../src/database/migrate.js";
import { openPostgres } from "../../../src/database/postgres.js";
import type { Database } from "../../../src/database/types.js";
import { withContext } from "../../../src/identity/index.js";
import { describeEachEngine, type TestDatabase } from "../../support/databases.js";
import { type PostgresServer, postgresBinaries, startPostgresServer } from "../../support/postgres-server.js";
import { seededRandom } from "../../support/traces.js";
import { append, blob, declarePages, key } from "./support.js";

type Data = Record<string, unknown>;
type Writer = Pick<TestDatabase, "db" | "asUser" | "asWorker">;

const nothing: Data = { title: null, body: null, stars: null, tags: null };

/** As DocumentStore does it. Out: the position; null when the fields given do not suffice. */
async function write(t: Writer, id: string, after: number, data: Data, isWhole: boolean) {
  const text = JSON.stringify(data);
  const [row] = await t.asUser("ada", (tx) =>
    tx.query<{ seq: number | null }>(
      `select perch.write_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, after_seq => $5, update => $6,
                                   ends => '{}', client_id => 'device', data => $7::jsonb, size => $8, is_whole => $9) as seq`,
      [...key(id), after, blob("x"), text, text.length, isWhole],
    ),
  );
  return row?.seq;
}

/** As a worker does it: an update that somebody appended, and later the JSON it led to. */
async function appendAndProject(t: Writer, id: string, after: number, data: Data) {
  const text = JSON.stringify(data);
  await t.asWorker((tx) => append(tx, [{ id, after, updates: [{ content: "x", user: "ada" }] }]));
  await t.asWorker((tx) =>
    tx.query("select from perch.project_document($1, $2, $3, $4, $5, $6::jsonb, $7)", [
      ...key(id),
      after + 1,
      text,
      text.length,
    ]),
  );
  return after + 1;
}

describeEachEngine("The long fields of a record", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declarePages(t);
  });

  const one = <Row>(sql: string, params: unknown[] = []) =>
    t.asUser("ada", async (tx) => {
      const [row] = await tx.query<Row>(sql, params);
      if (row === undefined) throw new Error("no row");
      return row;
    });
  const pull = async (cursor: object) =>
    (
      await one<{ page: { changes: { op: string; id: string; data: Data }[]; cursor: object; has_more: boolean } }>(
        "select perch.pull('notes', $1::jsonb) as page",
        [JSON.stringify(cursor)],
      )
    ).page;
  const shown = (id: string) =>
    t.asUser("ada", (tx) => tx.query<{ data: Data }>("select data from perch.records where record_id = $1", [id]));
  const inSnapshot = async (id: string) => {
    const { page } = await one<{ page: { records: { id: string; data: Data }[] } }>(
      "select perch.snapshot_records('notes') as page",
    );
    return page.records.filter((record) => record.id === id).map(({ data }) => ({ data }));
  };
  /** How the record is kept; undefined where it breaks no rule. */
  const misplaced = async (id: string) => {
    const [row] = await t.db.query<{ wrong: boolean }>(
      `select (r.long_data is null) <> (r.long_fields is null)
           or r.long_fields is not null and r.long_fields <> array(select k from jsonb_object_keys(r.long_data) k order by k)
           or r.data ?| r.long_fields
           or exists (select from jsonb_each(r.data) f where perch.is_long(f.value))
           or exists (select from jsonb_each(r.long_data) f where not perch.is_long(f.value))
           or r.size is distinct from perch.record_size(r.data, r.long_data, null, null) as wrong
         from perch.stored_records r where r.record_id = $1`,
      [id],
    );
    return row?.wrong ? row : undefined;
  };

  it("are shown, pulled and named like the others while they grow, shrink and clear, whoever writes them", async () => {
    const random = seededRandom(7);
    const below = (count: number) => Math.floor(random() * count);
    const letters = (count: number) =>
      Array.from({ length: count }, () => String.fromCharCode(97 + below(26))).join("");
    // None, short, at the border, long, long enough to be kept away from the row.
    const text = () => [null, "", letters(5), letters(480 + below(40)), letters(900), letters(9_000)][below(6)];
    const value: Record<string, () => unknown> = {
      title: text,
      body: text,
      stars: () => [null, below(5)][below(2)],
      tags: () =>
        [null, [], [letters(3)], [letters(300), letters(300)], Array.from({ length: 400 }, () => below(9))][below(5)],
    };
    const id = "random";
    let model = nothing;
    let seq = 0;
    let lives = false;
    let { cursor } = await pull({});
    for (let step = 0; step < 150; step++) {
      if (lives && below(20) === 0) {
        await t.asUser("ada", (tx) => tx.query("select perch.delete_document('notes', 'pages', $1)", [id]));
        const page = await pull(cursor);
        expect(page.changes).toMatchObject([{ op: "delete", id }]);
        ({ cursor } = page);
        expect(await shown(id)).toEqual([]);
        expect(await inSnapshot(id)).toEqual([]);
        expect(
          await t.db.query("select data, long_data, long_fields from perch.stored_records where record_id = $1", [id]),
        ).toEqual([{ data: {}, long_data: null, long_fields: null }]);
        model = nothing;
        seq++;
        lives = false;
      }
      const names = Object.keys(value).filter(() => below(2) === 0);
      const given = Object.fromEntries(names.map((name) => [name, value[name]?.() ?? null]));
      const next = { ...model, ...given };
      const changed = Object.keys(next)
        .filter((name) => !lives || JSON.stringify(next[name]) !== JSON.stringify(model[name]))
        .sort();
      const way = below(3);
      if (way === 0) seq = await appendAndProject(t, id, seq, next);
      else if (way === 1 || !lives) expect(await write(t, id, seq, next, true)).toBe(++seq);
      else expect(await write(t, id, seq, given, false)).toBe(++seq);
      model = next;

      const page = await pull(cursor);
      const expected = Object.fromEntries(changed.map((name) => [name, next[name]]));
      expect(page.changes.map(({ op, data }) => ({ op, data }))).toEqual(
        changed.length === 0 ? [] : [{ op: lives ? "update" : "insert", data: expected }],
      );
      ({ cursor } = page);
      lives = true;
      expect(await shown(id)).toEqual([{ data: model }]);
      expect(await inSnapshot(id)).toEqual([{ data: model }]);
      expect(await misplaced(id)).toBeUndefined();
    }
    const exported = await t.asUser("ada", (tx) =>
      tx.query<{ change: { id: string; data: Data | null } }>("select perch.export_changes() as change"),
    );
    for (const { change } of exported) {
      for (const [name, current] of Object.entries(change.data ?? {})) expect(current).toEqual(model[name]);
    }
    expect(exported.length).toBeGreaterThan(100);
  });

  it("come apart in a record that was plain before its table held documents, and nothing of it is lost", async () => {
    const body = "long ".repeat(500);
    await t.asUser("ada", (tx) =>
      tx.query("select perch.push('old', $1::jsonb, 'phone')", [
        JSON.stringify([{ op: "insert", table: "pages", id: "plain", data: { title: "old", body } }]),
      ]),
    );
    // Declaring it is refused; earlier versions let it pass.
    await t.db.query(
      `insert into perch.document_tables (app_id, table_name, fields) values ('old', 'pages', '{"title": "string", "body": "text"}')`,
    );
    const address = ["~ada", "old", "pages", "plain"];
    const writing = (after: number, data: Data, isWhole: boolean) =>
      t.asUser("ada", (tx) =>
        tx.query("select perch.write_document($2, $3, $4, $1, $5, $6, '{}', null, $7::jsonb, 10, $8) as seq", [
          ...address,
          after,
          blob("x"),
          JSON.stringify(data),
          isWhole,
        ]),
      );
    expect(await writing(0, { title: "new", body }, true)).toEqual([{ seq: 1 }]);
    expect(await writing(1, { title: "newer" }, false)).toEqual([{ seq: 2 }]);
    expect(await shown("plain")).toEqual([{ data: { title: "newer", body } }]);
    expect(await misplaced("plain")).toBeUndefined();
  });
});

// On a server of its own, on whose log nobody else writes.
describe.each(([15, 18] as const).filter((version) => postgresBinaries(version) !== undefined))(
  "The log of Postgres %s",
  (version) => {
    let server: PostgresServer;
    let db: Database;
    beforeAll(async () => {
      server = await startPostgresServer({ version, settings: { autovacuum: "off" } });
      db = openPostgres({ url: server.url() });
      await migrate(db);
      await declarePages({ db });
    });
    afterAll(async () => {
      await db.close();
      await server.close();
    });

    it("has in it the short field of a large document that changed, not the long ones that did not", async () => {
      const t: Writer = {
        db,
        asUser: (userId, work) => withContext(db, { userId }, work),
        asWorker: (work) =>
          db.transaction(async (tx) => {
            await tx.query("set local role perch_worker");
            return work(tx);
          }),
      };
      const random = seededRandom(3);
      const body = Array.from({ length: 200_000 }, () => String.fromCharCode(32 + Math.floor(random() * 90))).join("");
      let seq = (await write(t, "large", 0, { ...nothing, body }, true)) ?? 0;

      /** Of several, the cheapest: a checkpoint makes the next change of each page dearer. */
      const cheapest = async (work: (nth: number) => Promise<unknown>) => {
        const costs: number[] = [];
        for (let nth = 0; nth < 12; nth++) {
          const [before] = await t.db.query<{ lsn: string }>("select pg_current_wal_insert_lsn()::text as lsn");
          await work(nth);
          const [after] = await t.db.query<{ bytes: number }>(
            "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1::pg_lsn)::float8 as bytes",
            [before?.lsn],
          );
          costs.push(after?.bytes ?? Number.NaN);
        }
        return Math.min(...costs);
      };
      const byStore = await cheapest(async (nth) => {
        seq = (await write(t, "large", seq, { title: `Title ${nth}` }, false)) ?? 0;
      });
      const byStoreWhole = await cheapest(async (nth) => {
        seq = (await write(t, "large", seq, { ...nothing, body, stars: nth }, true)) ?? 0;
      });
      const byWorker = await cheapest(async (nth) => {
        seq = await appendAndProject(t, "large", seq, { ...nothing, body, title: `Name ${nth}` });
      });
      const ofTheLong = await cheapest(async (nth) => {
        seq = (await write(t, "large", seq, { body: `${nth}${body}` }, false)) ?? 0;
      });
      expect(byStore).toBeLessThan(20_000);
      expect(byStoreWhole).toBeLessThan(20_000);
      expect(byWorker).toBeLessThan(20_000);
      expect(ofTheLong).toBeGreaterThan(100_000);
    });
  },
);
