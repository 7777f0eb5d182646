import { beforeAll, expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { makeSpace, startNode } from "../gateway/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { until } from "../support/until.js";
import { syncTable } from "../tables/support.js";
import { askShape, operations, readShape } from "./shape-support.js";

describeBothKinds("shapes of tables with rules", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await makeSpace(t, "north", "ada", { ben: "viewer" });
    await t.db.query("create table people (id int primary key, team text, name text, salary int, secret boolean)");
    await t.db.query(
      "insert into people values (1, 'north', 'ada', 7, true), (2, 'north', 'ben', 8, true), (3, 'north', 'cyd', 9, false)",
    );
    await syncTable(t.db, "people", rules("not secret or name = perch.current_user_id()"));
  });

  const rules = (filter: string) =>
    `space_column => 'team', row_filter => '${filter}', column_roles => '{"salary": ["owner"]}'`;
  const ben = { token: "ben" };
  const keysOf = (replies: { body: { key?: string }[] }[]) =>
    replies.flatMap(({ body }) => body.flatMap(({ key }) => (key === undefined ? [] : [key.split('"')[5]])));

  it("show each reader the rows and columns that these allow, and a filter no more", async () => {
    const node = await startNode(t);
    const query = { table: "people" };
    const mine = await readShape(node, query);
    const theirs = await readShape(node, query, ben);
    expect(keysOf(mine)).toEqual(["1", "3"]);
    expect(mine[0]?.body[0].value).toMatchObject({ salary: "7" });
    expect(keysOf(theirs)).toEqual(["2", "3"]);
    expect(Object.keys(theirs[0]?.body[0].value)).toEqual(["id", "team", "name", "secret"]);
    expect(theirs[0]?.headers.get("electric-schema")).not.toContain("salary");
    for (const where of ["salary > 1", "id = 1 or salary is null"]) {
      expect((await askShape(node, { ...query, where, offset: "-1" }, ben)).status).toBe(400);
      expect((await askShape(node, { ...query, where, offset: "-1" })).status).toBe(200);
    }
    expect((await askShape(node, { ...query, columns: "id,salary", offset: "-1" }, ben)).status).toBe(400);
    expect(keysOf(await readShape(node, { ...query, where: "id = 1 or 1 / (id - 1) > 0" }, ben))).toEqual(["2"]);

    await t.db.query("update people set secret = true where id = 3");
    await t.db.query("update people set secret = false, salary = 70 where id = 1");
    await t.db.query("update people set salary = 80 where id = 2");
    expect((await readShape(node, query, ben, theirs.at(-1))).flatMap(operations)).toEqual([
      `delete "public"."people"/"3" {"id":"3"}`,
      `insert "public"."people"/"1" {"id":"1","team":"north","name":"ada","secret":"false"}`,
      // That what is hidden has changed, and when, would tell of it.
    ]);
    const body = JSON.stringify({ where: "id > 0", order_by: "id" });
    const subset = await askShape(
      node,
      { ...query, log: "changes_only", offset: "now" },
      { ...ben, method: "POST", body },
    );
    expect(subset.body.data.map(({ value }: { value: object }) => value)).toEqual([
      { id: "1", team: "north", name: "ada", secret: "false" },
      { id: "2", team: "north", name: "ben", secret: "true" },
    ]);
  });

  it("begin anew when the rules, or a reader's role, are others", async () => {
    const node = await startNode(t);
    const query = { table: "people" };
    const last = (await readShape(node, query, ben)).at(-1);
    expect((await readShape(node, query, ben, last))[0]?.status).toBe(200);
    const become = (role: string) =>
      t.asUser("ada", (tx) => tx.query("select perch.set_space_member('north', 'ben', $1)", [role]));
    await become("owner");
    expect((await readShape(node, query, ben, last))[0]?.status).toBe(409);
    await become("viewer");
    expect((await readShape(node, query, ben, last))[0]?.status).toBe(200);
    await syncTable(t.db, "people", rules("true"));
    expect((await readShape(node, query, ben, last))[0]?.status).toBe(409);
    expect(keysOf(await readShape(node, query, ben))).toEqual(["1", "2", "3"]);
  });

  it("are of each reader alone where a rule asks who reads, be the space one for all", async () => {
    await t.db.query("create table notes (id int primary key, owner text)");
    await syncTable(t.db, "notes", "space_id => 'north', row_filter => 'owner = perch.current_user_id()'");
    const node = await startNode(t);
    const query = { table: "notes" };
    const [mine, theirs] = [(await readShape(node, query)).at(-1), (await readShape(node, query, ben)).at(-1)];
    const wait = (from: typeof mine, init = {}) =>
      askShape(node, { ...query, live: "true", offset: from?.offset ?? "", handle: from?.handle ?? "" }, init);
    const waiting = [wait(mine), wait(theirs, ben)];
    await until(async () => {
      const seen = await fetch(`${node.gateway.url}/v1/console/shapes`, { headers: { authorization: "Bearer ada" } });
      const { readers } = (await seen.json()) as { readers: { count: number }[] };
      return readers[0]?.count === 2;
    }, "both to wait");
    await t.db.query("insert into notes values (1, 'ada'), (2, 'ben')");
    expect((await Promise.all(waiting)).map((reply) => keysOf([reply]))).toEqual([["1"], ["2"]]);
    // Who signs in on the device of another begins anew.
    expect((await readShape(node, query, ben, mine))[0]?.status).toBe(409);
  });

  it("hold for each chunk of the first snapshot, also for one that was read ahead", async () => {
    await t.db.query("create table crowd (id int primary key, team text, name text)");
    await t.db.query("insert into crowd select g, 'north', repeat('x', 100) from generate_series(1, 1000) g");
    await syncTable(t.db, "crowd", "space_column => 'team'");
    const db = await t.connect();
    let chunks = 0;
    const transaction: Database["transaction"] = (work) =>
      db.transaction((tx) =>
        work({
          ...tx,
          async query(sql, ...rest) {
            const rows = await tx.query(sql, ...rest);
            if (sql.includes("perch.shape_rows")) chunks += 1;
            return rows as never;
          },
        }),
      );
    const node = await startNode(t, { env: { PERCH_SHAPE_CHUNK_BYTES: "20000" }, db: { ...db, transaction } });
    const query = { table: "crowd" };
    const first = await askShape(node, { ...query, offset: "-1" }, ben);
    expect(keysOf([first]).length).toBeLessThan(200);
    const next = { ...query, offset: first.offset, handle: first.handle };
    // Ahead of ben's request; ada's is hers.
    await until(() => chunks === 2, "the next chunk to have been read");
    expect((await askShape(node, next)).status).toBe(409);
    await t.asUser("ada", (tx) => tx.query("select perch.remove_space_member('north', 'ben')"));
    expect((await askShape(node, next, ben)).status).toBe(409);
  });
});
