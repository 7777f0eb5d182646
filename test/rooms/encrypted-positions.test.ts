import { beforeAll, describe, expect, it } from "vitest";
import { makeSpace } from "../gateway/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";

describe("the position of an encrypted document that a node has given its readers", () => {
  const open = postgres();
  let database: TestDatabase;
  beforeAll(async () => {
    database = await open();
    await database.db.query("select perch.declare_encrypted_table(app_id => 'app', table_name => 'diaries')");
    await makeSpace(database, "team", "ada", { bob: "editor" });
  });

  /** A span of bob's, from the beginning of his peer to `next`. Out: its position. */
  async function append(next: number, revision: number): Promise<number> {
    const [row] = await database.db.query<{ seq: number }>(
      `select a.seq from perch.append_encrypted('team', 'app', 'diaries', 'd', 0, '{bob}', '{t}', '{b}', '{0}', array[$1::bigint],
         array[null::jsonb], array[decode(md5($1::text), 'hex')], revision => $2) a`,
      [next, revision],
    );
    return row?.seq ?? 0;
  }
  async function leadsOn(seq: number, revision: number) {
    const [row] = await database.db.query<{ leads_on: boolean | null; seqs: number[] }>(
      "select leads_on, seqs from perch.encrypted_after('team', 'app', 'diaries', 'd', $1, $2)",
      [seq, revision],
    );
    return row;
  }

  it("leads on when the record there was replaced by a later one, and not when another was there", async () => {
    const seq = await append(1, 101);
    expect(await append(2, 102)).toBe(seq + 1);
    expect(await leadsOn(seq, 101)).toEqual({ leads_on: true, seqs: [seq + 1] });
    expect(await leadsOn(seq, 999)).toEqual({ leads_on: false, seqs: [seq + 1] });
    for (let next = 3; next <= 20; next++) await append(next, 100 + next);
    expect(await leadsOn(seq + 1, 102)).toEqual({ leads_on: true, seqs: [seq + 19] });
  });

  it("is not known for ever, and then nothing says that it is another", async () => {
    for (let next = 21; next <= 100; next++) await append(next, 100 + next);
    expect(await leadsOn(1, 101)).toMatchObject({ leads_on: null });
    expect(await database.db.query("select cardinality(replaced) as kept from perch.encrypted_documents")).toEqual([
      { kept: 128 },
    ]);
  });
});
