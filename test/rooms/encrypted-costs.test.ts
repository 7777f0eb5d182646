import { beforeAll, describe, expect, it } from "vitest";
import type { Queryable } from "../../src/database/types.js";
import { makeSpace } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

const hex = (peer: string) => Buffer.from(peer).toString("hex");

describe("an append to an encrypted document", () => {
  const open = postgres();
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await database.db.query("select perch.declare_encrypted_table(app_id => 'app', table_name => 'diaries')");
    await makeSpace(database, "team", "ada", { bob: "editor" });
  });

  /** Spans of one operation each, at `firsts` of their peers; or, with a version, one snapshot. */
  const append = async (
    db: Queryable,
    recordId: string,
    spans: readonly (readonly [peer: string, first: number])[],
    version?: Record<string, number>,
  ) =>
    db.query<{ seq: number | null; error: string | null }>(
      `select a.seq, a.error from perch.append_encrypted('team', 'app', 'diaries', $1, 0, array_fill('ada'::text, array[$2::int]),
         array_fill(true, array[$2::int]), $3::bytea[], $4::bigint[], $5::bigint[], $6::jsonb[],
         (select array_agg(decode(md5(random()::text), 'hex')) from generate_series(1, $2::int))) a`,
      version === undefined
        ? [
            recordId,
            spans.length,
            spans.map(([peer]) => Buffer.from(peer)),
            spans.map(([, first]) => first),
            spans.map(([, first]) => first + 1),
            spans.map(() => null),
          ]
        : [recordId, 1, [null], [null], [null], [JSON.stringify(version)]],
    );

  /** Rows of a table that a piece of work reads through its indexes. */
  const readBy = (table: string, work: (db: Queryable) => Promise<unknown>) =>
    database.db.transaction(async (tx) => {
      const read = async () =>
        Number(
          (
            await tx.query<{ read: unknown }>(
              `select coalesce(idx_scan, 0) + coalesce(idx_tup_fetch, 0) + seq_tup_read as read
                 from pg_stat_xact_user_tables where schemaname = 'perch' and relname = $1`,
              [table],
            )
          )[0]?.read ?? 0,
        );
      const before = await read();
      await work(tx);
      return (await read()) - before;
    });

  const stored = async (recordId: string) =>
    (
      await database.db.query("select from perch.encrypted_records where record_id = $1 and peer_id is null", [
        recordId,
      ])
    ).length;

  it("looks up none of the peers that snapshots name, until one is come to", async () => {
    const peers = Array.from({ length: 200 }, (_, n) => `p${1_000 + n}`);
    await append(
      database.db,
      "snapshots",
      peers.map((peer) => [peer, 0] as const),
    );
    for (let n = 0; n < 16; n++) {
      const version = Object.fromEntries([...peers, `last-${n}`].map((peer) => [hex(peer), 1]));
      expect(await append(database.db, "snapshots", [], version)).toMatchObject([{ error: null }]);
    }
    await append(database.db, "snapshots", [["ada", 0]]);
    expect(await stored("snapshots")).toBe(16);
    expect(
      await readBy("encrypted_reaches", (tx) =>
        append(tx, "snapshots", [
          ["ada", 1],
          [peers[0] ?? "", 1],
        ]),
      ),
    ).toBeLessThan(100);
    // The peers that nobody had sent yet, one by one and many at once: each takes away the snapshot that it completes.
    await append(database.db, "snapshots", [["last-3", 0]]);
    expect(await stored("snapshots")).toBe(15);
    await append(
      database.db,
      "snapshots",
      Array.from({ length: 16 }, (_, n) => [`last-${n}`, 0] as const),
    );
    expect(await stored("snapshots")).toBe(0);
  });

  it("walks once over what it joins to the reach of its peer", async () => {
    await append(
      database.db,
      "joined",
      Array.from({ length: 200 }, (_, n) => ["1", n + 1] as const),
    );
    expect(await readBy("encrypted_records", (tx) => append(tx, "joined", [["1", 0]]))).toBeLessThan(1_000);
    expect(
      await database.db.query("select reach::int as reach from perch.encrypted_reaches where record_id = 'joined'"),
    ).toEqual([{ reach: 201 }]);
  });

  it("reads once what ended lives of the document had, however many peers are held against it", async () => {
    const version = Object.fromEntries(Array.from({ length: 8_000 }, (_, n) => [hex(`other-${n}`), 5]));
    const took = async (recordId: string) => {
      const began = performance.now();
      expect(await append(database.db, recordId, [], version)).toMatchObject([{ error: null }]);
      return performance.now() - began;
    };
    await append(database.db, "ended", [["1", 0]]);
    await database.db.query(
      `update perch.encrypted_documents set ended = (
         select jsonb_object_agg(encode(sha512(n::text::bytea), 'hex'), 5) from generate_series(1, 16384) n)
        where record_id = 'ended'`,
    );
    // Once for each peer it takes seconds.
    const quiet = await took("quiet");
    expect(await took("ended")).toBeLessThan(1_000 + 5 * quiet);
  });
});
