import { readFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createReplica, type FoldedRecord, foldChange, isLive, recordKey } from "../../src/client/fold.js";
import { compareJsonb } from "../../src/client/jsonb-order.js";
import type { PulledChange, SnapshotRecord } from "../../src/client/types.js";
import { packageRoot } from "../../src/database/package-root.js";
import { readStatements } from "../log/guide.js";
import { type Change, pull, push, snapshot } from "../log/support.js";
import { readBlocks } from "../support/blocks.js";
import { describeBothKinds } from "../support/databases.js";

const times = ["2026-01-01T10:00:00Z", "2026-01-01T10:00:00.1Z", "2026-01-01T10:00:00.12Z", "2026-01-01T10:00:01Z"];
const values = fc.constantFrom<unknown>(
  "a",
  "Z",
  "é",
  "😀",
  "\uffff",
  1,
  2.5,
  10,
  true,
  null,
  [],
  [1],
  [[]],
  { a: 1 },
  { b: 1, aa: 2 },
);
const change: fc.Arbitrary<Change> = fc
  .record({
    op: fc.constantFrom("insert", "insert", "update", "update", "delete"),
    id: fc.constantFrom("x", "y"),
    at: fc.constantFrom(...times),
    data: fc.dictionary(fc.constantFrom("title", "done", "__proto__", "constructor"), values, { maxKeys: 3 }),
  })
  .map(({ data, ...made }) => ({ ...made, table: "tasks", ...(made.op !== "delete" && { data }) }));
const pushes = fc.array(
  fc.tuple(fc.constantFrom("phone", "laptop", null), fc.array(change, { minLength: 1, maxLength: 3 })),
  {
    minLength: 1,
    maxLength: 6,
  },
);

const byId = <T extends { id: string }>(all: T[]) => all.sort((a, b) => (a.id < b.id ? -1 : 1));

/** What a snapshot tells of live records, and nothing else. */
const shown = (records: Iterable<FoldedRecord>) =>
  byId([...records].filter(isLive).map(({ space_id: _, ...record }) => record));

describeBothKinds("The fold", (open, engine) => {
  it("of what was pulled is the server's snapshot at each cursor, stamps and all, and so is the one in SQL of docs/clients.md", async () => {
    const t = await open();
    const page = await readFile(join(packageRoot, "docs", "clients.md"), "utf8");
    const inSql = readBlocks(page, ["ts", "tsx", "sql", "json"]).find(({ text }) =>
      text.includes("create function search.fold"),
    );
    for (const { sql } of readStatements(inSql?.text ?? "")) await t.db.query(sql);
    await t.db.query("grant usage on schema search to perch_app");
    await t.db.query("grant all on all tables in schema search to perch_app");
    let run = 0;
    await fc.assert(
      fc.asyncProperty(pushes, async (all) => {
        const user = `u${++run}`;
        const replica = createReplica();
        let cursor = {};
        await t.asUser(user, async (tx) => {
          for (const [client, changes] of all) {
            for (const result of await push(tx, changes, client)) expect(result.status).toBe("applied");
            const page = await pull(tx, { cursor });
            cursor = page.cursor;
            replica.apply({
              type: "changes",
              changes: page.changes as PulledChange[],
              revokedSpaceIds: [],
              cursor,
              hasMore: false,
            });
            await tx.query("select search.fold(c) from jsonb_array_elements($1::jsonb) c", [
              JSON.stringify(page.changes),
            ]);
            const { records } = await snapshot(tx);
            const folded = await tx.query<{ id: string; data: object; field_meta: object }>(
              "select record_id as id, data, (select r.stamps from search.records r where (r.space_id, r.record_id) = (l.space_id, l.record_id)) as field_meta from search.live l where space_id = $1 order by 1",
              [`~${user}`],
            );
            expect(folded).toEqual(byId(records.map(({ id, data, field_meta }) => ({ id, data, field_meta }))));
            expect(shown(replica.records.values())).toEqual(byId(records));
          }
        });
      }),
      // One on PGlite takes as long as ten elsewhere.
      { numRuns: engine === "PGlite" ? 10 : 70 },
    );
  });

  it("has the order of jsonb for values that were written in the same instant", async () => {
    const t = await open();
    const scalar = fc.oneof(
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.constantFrom("", "a", "ab", "b"),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        scalar,
        fc.array(tie("value"), { maxLength: 3 }),
        fc.dictionary(fc.constantFrom("a", "b", "aa"), tie("value"), { maxKeys: 3 }),
      ),
    }));
    const pairs = fc.sample(fc.tuple(value, value), 2_000).map(([a, b]) => [a, b].map((each) => JSON.stringify(each)));
    const rows = await t.db.query<{ a: string; b: string; order: number }>(
      `select a::text, b::text, (a > b)::int - (a < b)::int as order
         from (select (p ->> 0)::jsonb a, (p ->> 1)::jsonb b from jsonb_array_elements($1::jsonb) p) pairs
        where not (jsonb_typeof(a) = 'string' and jsonb_typeof(b) = 'string')`,
      [JSON.stringify(pairs)],
    );
    expect(rows.length).toBeGreaterThan(1_500);
    for (const { a, b, order } of rows)
      expect([a, b, 0 + Math.sign(compareJsonb(JSON.parse(a), JSON.parse(b)))]).toEqual([a, b, order]);
  });
});

const entry = (more: Partial<PulledChange>): PulledChange => ({
  space_id: "s",
  seq: 1,
  op: "insert",
  table: "t",
  id: "1",
  data: {},
  field_meta: {},
  at: "2026-01-01T10:00:00.000000Z",
  deleted_at: null,
  user_id: "ada",
  client_id: "phone",
  op_id: null,
  txid: "1",
  schema_version: 1,
  actor: null,
  origin: null,
  created_at: "",
  ...more,
});

it("leaves what it is given as it is", () => {
  const before = Object.freeze(foldChange(undefined, entry({ data: { a: 1 } })));
  Object.freeze(before.data);
  const after = foldChange(before, entry({ seq: 2, op: "update", at: "2026-01-01T10:00:01.000000Z", data: { a: 2 } }));
  expect([before.data, after.data]).toEqual([{ a: 1 }, { a: 2 }]);
  expect([after.seq, after.inserted_at]).toEqual([2, "2026-01-01T10:00:00.000000Z"]);
});

it("keeps what it has of a record whose change is withheld, and says so", () => {
  const before = foldChange(undefined, entry({ data: { a: 1 } }));
  const after = foldChange(before, entry({ seq: 2, op: "update", data: null, withheld: { reason: "too_large" } }));
  expect(after).toMatchObject({ data: { a: 1 }, withheld: { reason: "too_large" } });
});

it("puts a snapshot in the place of a space's records at once, and drops spaces that were revoked", () => {
  const replica = createReplica();
  const record = (id: string): SnapshotRecord => ({
    table: "t",
    id,
    data: { id },
    field_meta: {},
    seq: 1,
    inserted_at: null,
    deleted_at: null,
    schema_version: 1,
  });
  const changes = (all: PulledChange[], revokedSpaceIds: string[] = []) =>
    replica.apply({ type: "changes", changes: all, revokedSpaceIds, cursor: {}, hasMore: false });
  const ids = () => [...replica.records.values()].map(({ space_id, id }) => `${space_id}/${id}`).sort();
  changes([entry({ id: "old" }), entry({ space_id: "other", id: "kept" })]);
  replica.apply({ type: "resync", spaces: [] });
  expect(
    replica.apply({ type: "snapshot", spaceId: "s", records: [record("1")], last: false, cursor: null }).size,
  ).toBe(0);
  expect(ids()).toEqual(["other/kept", "s/old"]);
  // Begun anew, since the database went back between two pages.
  replica.apply({ type: "resync", spaces: [] });
  replica.apply({ type: "snapshot", spaceId: "s", records: [record("2")], last: false, cursor: null });
  const touched = replica.apply({ type: "snapshot", spaceId: "s", records: [record("3")], last: true, cursor: {} });
  expect(ids()).toEqual(["other/kept", "s/2", "s/3"]);
  expect(touched).toEqual(new Set(["old", "2", "3"].map((id) => recordKey({ space_id: "s", table: "t", id }))));
  changes([], ["s"]);
  expect(ids()).toEqual(["other/kept"]);
});
