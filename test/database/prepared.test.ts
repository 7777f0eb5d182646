import { afterEach, expect, it } from "vitest";
import { openDatabase } from "../../src/database/open.js";
import type { Database } from "../../src/database/types.js";
import { describeEachPostgres } from "../support/databases.js";
import { startTransactionPooler } from "../support/transaction-pooler.js";

const closers: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function opened(url: string | undefined, options: { prepare?: boolean; poolSize?: number } = {}) {
  const db = await openDatabase({ url: url ?? "", poolSize: 1, ...options });
  closers.push(() => db.close());
  return db;
}

const heldBy = (db: Database) => db.query<{ statement: string }>("select statement from pg_prepared_statements");

const make = (db: Database, returns: string, body: string) =>
  db.query(`create function answer(n int) returns table (${returns}) language sql as '${body}'`);
const call = "select * from answer($1)";

describeEachPostgres("a prepared statement", (open) => {
  it("is kept by the connection, once, where database and statement both ask for it", async () => {
    const { url } = await open();
    const db = await opened(url, { prepare: true });
    for (const n of [1, 2, 3]) {
      expect(await db.query("select $1::int as n", [n], { prepare: true })).toEqual([{ n }]);
      await db.query("select $1::int as not_kept", [n]);
    }
    await db.transaction((tx) => tx.query("select $1::int as n", [4], { prepare: true }));
    expect(await heldBy(db)).toEqual([{ statement: "select $1::int as n" }]);

    const plain = await opened(url);
    await plain.query("select $1::int as n", [1], { prepare: true });
    expect(await heldBy(plain)).toEqual([]);
  });

  it("goes on working when a migration changes what it returns", async () => {
    const { url, db: dba } = await open();
    const db = await opened(url, { prepare: true });
    await make(dba, "a int", "select n");
    expect(await db.query(call, [1], { prepare: true })).toEqual([{ a: 1 }]);
    await dba.query("drop function answer");
    await make(dba, "a int, b text", "select n, ''new''::text");
    expect(await db.query(call, [2], { prepare: true })).toEqual([{ a: 2, b: "new" }]);
  });

  it("fails one transaction at most when a migration changes what it returns, and leaves nothing of it", async () => {
    const { url, db: dba } = await open();
    const db = await opened(url, { prepare: true });
    await dba.query("create table written (n int)");
    await make(dba, "a int", "select n");
    const writeAndCall = (n: number) =>
      db.transaction(async (tx) => {
        await tx.query("insert into written values ($1)", [n]);
        return tx.query(call, [n], { prepare: true });
      });
    expect(await writeAndCall(1)).toEqual([{ a: 1 }]);
    await dba.query("drop function answer");
    await make(dba, "b text", "select n::text");
    await expect(writeAndCall(2)).rejects.toMatchObject({ code: "0A000" });
    expect(await writeAndCall(3)).toEqual([{ b: "3" }]);
    expect(await dba.query("select n from written order by n")).toEqual([{ n: 1 }, { n: 3 }]);
  });

  it("is run unprepared, and only once, behind a proxy that gives each transaction another connection", async () => {
    const { url, db: dba } = await open();
    const pooler = await startTransactionPooler(Number(new URL(url ?? "").port));
    closers.push(() => pooler.close());
    await dba.query("create table written (n int)");
    const first = await opened(pooler.url(url ?? ""), { prepare: true, poolSize: 4 });
    const second = await opened(pooler.url(url ?? ""), { prepare: true, poolSize: 4 });
    const numbers = Array.from({ length: 40 }, (_, n) => ({ n }));
    const answers = await Promise.all(
      numbers.flatMap(({ n }) => [
        first.query("insert into written values ($1) returning n", [n], { prepare: true }),
        second.query("select $1::int + 1000 as m", [n], { prepare: true }),
      ]),
    );
    expect(answers.flat()).toEqual(numbers.flatMap(({ n }) => [{ n }, { m: n + 1000 }]));
    expect(await dba.query("select n from written order by n")).toEqual(numbers);
  });
});
