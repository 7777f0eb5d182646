import { beforeAll, describe, expect, it } from "vitest";
import { migrate } from "../../src/database/migrate.js";
import { migrationStatus } from "../../src/database/migration-status.js";
import { describeEachEngine, postgres, type TestDatabase } from "../support/databases.js";
import { type Change, insert, push, remove, update } from "./support.js";

/** What the database says of each record, and what a snapshot gives of it as text. */
const sizesSql = `
  select r.record_id as id, r.size, octet_length((e -> 'data')::text) + octet_length((e -> 'field_meta')::text) as text
    from jsonb_array_elements(perch.snapshot_records(app_id => $1) -> 'records') e
    join perch.stored_records r on r.app_id = $1 and r.record_id = e ->> 'id'
   order by 1`;

interface Size {
  id: string;
  size: number | null;
  text: number;
}

const fields = (count: number, value: unknown = 1) =>
  Object.fromEntries(Array.from({ length: count }, (_, n) => [`field"${n}`, value]));

/** Up to 4,000 bytes nothing is said; above, what a snapshot gives, but for the braces. */
function expectTrue(sizes: readonly Size[]): void {
  for (const { id, size, text } of sizes) {
    if (size === null) expect(text, id).toBeLessThanOrEqual(4_000);
    else expect(Math.abs(size - text), `${id}: ${size} for ${text}`).toBeLessThanOrEqual(4);
  }
}

describeEachEngine("The size of a record", (open) => {
  let t: TestDatabase;
  const sizes = (appId: string) => t.asUser("ada", (tx) => tx.query<Size>(sizesSql, [appId]));
  const pushed = (appId: string, ...changes: Change[]) =>
    t.asUser("ada", async (tx) => {
      for (const { status } of await push(tx, changes, "laptop", appId)) expect(status).toBe("applied");
    });

  beforeAll(async () => {
    t = await open();
  });

  it("is what a snapshot gives of it as text, whatever wrote it last", async () => {
    const at = (day: number) => ({ at: `2026-01-0${day}T00:00:00Z` });
    const app = "plain";
    // Alone and with others, new and there, later and earlier.
    for (const changes of [
      [insert("small", { a: 1 })],
      [insert("alone", fields(100), at(2))],
      [update("alone", fields(10, "x".repeat(100)), at(3))],
      [insert("many 1", fields(900), at(2)), insert("many 2", fields(3, "ü".repeat(1_000)), at(2))],
      [update("many 1", { text: "z".repeat(3_000) }, at(3)), update("many 2", { 'field"1': null }, at(3))],
      [update("many 1", { older: "y".repeat(2_000) }, at(1)), update("new", fields(200), at(1))],
      [remove("many 2", at(4)), insert("many 2", fields(150), at(5))],
      [insert("shrinks", fields(1, "x".repeat(5_000)), at(1)), update("shrinks", fields(1), at(2))],
    ])
      await pushed(app, ...changes);
    const found = await sizes(app);
    expectTrue(found);
    expect(found.filter(({ size }) => size !== null).map(({ id }) => id)).toEqual(["alone", "many 1", "many 2", "new"]);
  });

  it("counts numbers as they are written out", async () => {
    const written = `{"n": [${"1e300, ".repeat(19)}1e300]}`;
    await t.asUser("ada", (tx) =>
      tx.query("select perch.push('digits', jsonb_build_array($1::jsonb), 'laptop')", [
        `{"op": "insert", "table": "tasks", "id": "n", "data": ${written}}`,
      ]),
    );
    const found = await sizes("digits");
    expect(found).toMatchObject([{ size: expect.any(Number) }]);
    expectTrue(found);
  });

  it("is not made of numbers that are short as they are sent and fill the memory of whoever reads them", async () => {
    const long = '{"n": 1e131000}';
    const pushed = [
      `{"op": "insert", "table": "tasks", "id": "n", "data": ${long}}`,
      `{"op": "call", "name": "nowhere", "args": ${long}}`,
    ];
    for (const change of pushed) {
      const [row] = await t.asUser("ada", (tx) =>
        tx.query<{ error: object }>(
          "select perch.push('long', jsonb_build_array($1::jsonb), 'laptop') #> '{results, 0, error}' as error",
          [change],
        ),
      );
      expect(row?.error, change).toMatchObject({ code: "PE422", message: expect.stringContaining("number") });
    }
    await expect(
      t.asUser("ada", (tx) => tx.query("select perch.submit_patch('long', 'pages', 'p', $1::jsonb)", [long])),
    ).rejects.toMatchObject({ code: "PE422", message: expect.stringContaining("number") });
  });
});

describe("Records of a database that knew no sizes", () => {
  const open = postgres();
  it("have theirs after the migration", async () => {
    const t = await open();
    await t.asUser("ada", (tx) =>
      push(tx, [insert("small"), insert("large", fields(500)), update("new", fields(100))]),
    );
    const before = await t.asUser("ada", (tx) => tx.query<Size>(sizesSql, ["todo"]));
    const { applied } = await migrationStatus(t.db);
    await migrate(t.db, { direction: "down", count: applied.length - applied.indexOf("0008_record_sizes") });
    await migrate(t.db);
    const after = await t.asUser("ada", (tx) => tx.query<Size>(sizesSql, ["todo"]));
    expectTrue(after);
    expect(after.map(({ size }) => size === null)).toEqual(before.map(({ size }) => size === null));
    expect(before.map(({ size }) => size === null)).toEqual([false, false, true]);
  });
});
