import { SignJWT } from "jose";
import { beforeAll, expect, it } from "vitest";
import { makeSpace, startNode } from "../gateway/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { askShape, operations, readShape } from "./shape-support.js";

describeBothKinds("the protocol of shapes", (open) => {
  let t: TestDatabase;

  async function makeTable(name: string) {
    await t.db.query(`create table ${name} (id int primary key, team text, title text)`);
    await syncTable(t.db, name, "space_column => 'team'");
  }

  beforeAll(async () => {
    t = await open();
    await makeSpace(t, "north", "ada", { ben: "viewer" });
    await makeSpace(t, "south", "ada");
    await makeTable("typed");
    await t.db.query("insert into typed values (1, 'north', 'x')");
  });

  it.each([
    [{}, "table", "can't be blank"],
    [{ table: "x;y" }, "table", "is no name of a table"],
    [{ table: "nothing", offset: "-1" }, "table", "there is no synced table public.nothing"],
    [{ table: "x" }, "offset", "can't be blank"],
    [{ table: "x", offset: "-2" }, "offset", "invalid format"],
    [{ table: "x", offset: "1_2_3" }, "offset", "invalid format"],
    [{ table: "x", offset: "5_0" }, "handle", "can't be blank when offset != -1"],
    [{ table: "x", offset: "-1", live: "true" }, "live", "can't be true when offset == -1"],
    [{ table: "x", offset: "now", live: "true" }, "live", "can't be true when offset is 'now'"],
    [
      { table: "x", offset: "5_0", handle: "h", live_sse: "true" },
      "live_sse",
      "can't be true unless live is also true",
    ],
    [{ table: "x", offset: "-1", live: "perhaps" }, "live", "is invalid"],
    [{ table: "x", offset: "-1", replica: "half" }, "replica", "is invalid"],
    [{ table: "x", offset: "-1", log: "some" }, "log", "is invalid"],
    [{ table: "x", offset: "-1", columns: "id,,title" }, "columns", "zero-length"],
    [{ table: "x", offset: "-1", columns: "id", queryable_columns: "title" }, "columns", "not among queryable_columns"],
    [{ table: "x", offset: "-1", where: "id =" }, "where", "cannot be read"],
    [{ table: "x", offset: "-1", where: "id = $1" }, "params", "there is no value for $1"],
    [{ table: "typed", offset: "-1", where: "id like 'x'" }, "where", "operator does not exist"],
    [{ table: "typed", offset: "-1", where: "id = 'x'" }, "where", "type integer"],
    [{ table: "typed", offset: "-1", where: "1 / (id - 1) > 0" }, "where", "cannot be evaluated"],
    [{ table: "typed", offset: "-1", where: "length(id) > 0" }, "where", "function"],
    [{ table: "typed", offset: "0_1", handle: "h" }, "offset", "invalid format"],
  ] as [Record<string, string>, string, string][])(
    "answers 400 and says what is wrong: %j",
    async (query, name, message) => {
      const node = await startNode(t);
      const reply = await askShape(node, query);
      expect(reply).toMatchObject({
        status: 400,
        body: { message: "Invalid request", errors: { [name]: [expect.stringContaining(message)] } },
      });
      expect(reply.headers.get("cache-control")).toBe("no-store");
    },
  );

  it("has nothing for those without a token, in its own form, and nothing that caches share for those with one", async () => {
    await makeTable("guarded");
    await t.db.query("insert into guarded values (1, 'north', 'mine')");
    const secret = "0123456789abcdef0123456789abcdef";
    const node = await startNode(t, { env: { PERCH_JWT_SECRET: secret } });
    const sign = (claims: object) =>
      new SignJWT({ ...claims })
        .setProtectedHeader({ alg: "HS256" })
        .setExpirationTime("1h")
        .sign(new TextEncoder().encode(secret));
    const refused = await askShape(node, { table: "guarded", offset: "-1" }, { token: "no" });
    expect(refused).toMatchObject({ status: 401, body: { message: expect.stringContaining("unauthenticated") } });
    const stranger = await readShape(node, { table: "guarded" }, { token: await sign({ sub: "eve" }) });
    expect(stranger.flatMap(operations)).toEqual([]);
    const listed = await sign({ sub: "eve", space_ids: ["north"] });
    const [first] = await readShape(node, { table: "guarded" }, { token: listed });
    expect(operations(first as never)).toHaveLength(1);
    expect(first?.headers.get("cache-control")).toBe("private, no-cache");
    expect(first?.headers.get("vary")).toContain("authorization");
  });

  it("is 409 with where to begin anew for a handle that is another's, made up, or of other rights", async () => {
    await makeTable("rights");
    await t.db.query("insert into rights values (1, 'north', 'a'), (2, 'south', 'b')");
    const node = await startNode(t);
    const query = { table: "rights" };
    const ben = (await readShape(node, query, { token: "ben" })).at(-1);
    const from = { offset: ben?.offset ?? "", handle: ben?.handle ?? "" };
    expect((await askShape(node, { ...query, ...from }, { token: "ben" })).status).toBe(200);
    for (const [other, token] of [
      [{ ...query, ...from }, "ada"],
      [{ ...query, ...from, where: "id = 1" }, "ben"],
      [{ ...query, ...from, columns: "id" }, "ben"],
      [{ ...query, ...from, handle: "made-up" }, "ben"],
      [{ ...query, ...from, offset: "999999999_0" }, "ben"],
    ] as const) {
      const reply = await askShape(node, other, { token });
      expect(reply).toMatchObject({ status: 409, body: [{ headers: { control: "must-refetch" } }] });
      expect(reply.handle).not.toBe(from.handle);
      const location = new URL(reply.headers.get("location") ?? "", node.gateway.url);
      expect(location.searchParams.get("offset")).toBe("-1");
      expect(location.searchParams.get("handle")).toBe(reply.handle);
      const again = await fetch(location, { headers: { authorization: `Bearer ${token}` } });
      expect(again.status).toBe(200);
    }
    // A live request is told while it waits.
    const waiting = askShape(node, { ...query, ...from, live: "true" }, { token: "ben" });
    await t.asUser("ada", (tx) =>
      tx.query("select perch.set_space_member(space_id => 'south', user_id => 'ben', role => 'viewer')"),
    );
    const replies = [await waiting, await askShape(node, { ...query, ...from }, { token: "ben" })];
    expect(replies.at(-1)?.status).toBe(409);
    await t.asUser("ada", (tx) => tx.query("select perch.remove_space_member(space_id => 'south', user_id => 'ben')"));
  });

  it("is 409 when the table has become another, and when its past was forgotten", async () => {
    await makeTable("changing");
    const node = await startNode(t);
    const query = { table: "changing" };
    const last = async () => (await readShape(node, query)).at(-1) ?? { offset: "", handle: "" };
    const before = await last();
    await t.db.query("alter table changing add column more text default 'x'");
    expect((await readShape(node, query, {}, before))[0]?.status).toBe(409);
    const old = await last();
    for (const id of [1, 2, 3]) await t.db.query("insert into changing values ($1, 'north', 'x')", [id]);
    const recent = await last();
    expect((await readShape(node, query, {}, old))[0]?.status).toBe(200);
    await t.db.query("insert into changing values (4, 'north', 'x')");
    await readShape(node, query, {}, recent);
    await t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0 seconds', keep_last => 1)"));
    expect((await readShape(node, query, {}, old))[0]?.status).toBe(409);
    expect((await readShape(node, query, {}, recent)).flatMap(operations)).toHaveLength(1);
    await t.asWorker((tx) => tx.query("select perch.prune_changes(keep_for => '0 seconds', keep_last => 0)"));
    const anew = await last();
    expect(await readShape(node, query, {}, anew)).toMatchObject([{ status: 200 }]);
    await t.db.query("insert into changing values (5, 'north', 'x')");
    expect((await readShape(node, query, {}, anew)).flatMap(operations)).toHaveLength(1);
    await t.db.query("select perch.new_epoch()");
    expect((await readShape(node, query, {}, recent))[0]?.status).toBe(409);
  });

  it("is 304 for who has the answer already, and without a body for HEAD", async () => {
    await makeTable("tagged");
    await t.db.query("insert into tagged values (1, 'north', 'x')");
    const node = await startNode(t);
    const replies = await readShape(node, { table: "tagged" });
    const last = replies.at(-1);
    const query = { table: "tagged", offset: last?.offset ?? "", handle: last?.handle ?? "" };
    const idle = await askShape(node, query);
    const headers = { "if-none-match": idle.headers.get("etag") ?? "" };
    expect(headers["if-none-match"]).toMatch(/^".+"$/);
    expect(await askShape(node, query, { headers })).toMatchObject({ status: 304, body: undefined });
    await t.db.query("insert into tagged values (2, 'north', 'y')");
    expect(await askShape(node, query, { headers })).toMatchObject({ status: 200 });
    const head = await askShape(node, { ...query, live: "true", offset: idle.offset }, { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, body: undefined });
    expect(head.handle).toBe(query.handle);
  });

  it("shows its headers to pages of other origins", async () => {
    await makeTable("shared");
    const node = await startNode(t);
    const reply = await askShape(
      node,
      { table: "shared", offset: "-1" },
      { headers: { origin: "http://localhost:9" } },
    );
    const exposed = reply.headers.get("access-control-expose-headers");
    for (const name of ["handle", "offset", "schema", "cursor", "up-to-date"])
      expect(exposed).toContain(`electric-${name}`);
  });

  it("builds keys of quoted names and of several columns, and writes values as Postgres does", async () => {
    await t.db.query('create schema "Odd/Schema"');
    await t.db.query(
      `create table "Odd/Schema"."A.B" ("Team" text, "pk/1" text, n bigint, f float8, b bytea, i interval, ts timestamptz,
         bits bit(3), arr int[][], u uuid, r numrange, j jsonb, primary key ("pk/1", n))`,
    );
    await syncTable(t.db, '"Odd/Schema"."A.B"', `space_column => 'Team', table_name => 'odd'`);
    const insert = `insert into "Odd/Schema"."A.B" values ('north', 'a/b"c', 9007199254740993, 'NaN', '\\x00ff', '1 day -02:03:04',
      '2026-01-01 10:00:00.123456+02', '101', '{{1,2},{3,4}}', 'a0000000-0000-4000-8000-000000000001', '(1.50,2)', '{"a": 1e2}')`;
    const node = await startNode(t);
    const query = { table: '"Odd/Schema"."A.B"' };
    const begun = (await readShape(node, query)).at(-1);
    await t.db.query(insert);
    const fromLog = (await readShape(node, query, {}, begun)).flatMap(({ body }) => body)[0];
    const fromRows = (await readShape(node, query))[0];
    expect(fromLog.key).toBe('"Odd//Schema"."A..B"/"a//b"c"/"9007199254740993"');
    expect(fromRows?.body[0]).toMatchObject({ key: fromLog.key, value: fromLog.value });
    expect(fromLog.value).toEqual({
      Team: "north",
      "pk/1": 'a/b"c',
      n: "9007199254740993",
      f: "NaN",
      b: "\\x00ff",
      i: "P1DT-2H-3M-4S",
      ts: "2026-01-01 08:00:00.123456+00",
      bits: "101",
      arr: "{{1,2},{3,4}}",
      u: "a0000000-0000-4000-8000-000000000001",
      r: "(1.50,2)",
      j: '{"a": 100}',
    });
    expect(JSON.parse(fromRows?.headers.get("electric-schema") ?? "")).toMatchObject({
      n: { type: "int8", pk_index: 1, not_null: true },
      arr: { type: "int4", dims: 2 },
      bits: { type: "bit", length: 3 },
    });
  });

  it("numbers operations by their transaction, across tables, and says which is its last", async () => {
    await makeTable("first_of");
    await makeTable("second_of");
    const node = await startNode(t);
    const [one, two] = await Promise.all(
      ["first_of", "second_of"].map(async (table) => (await readShape(node, { table })).at(-1)),
    );
    const txid = await t.db.transaction(async (tx) => {
      await tx.query("insert into first_of values (1, 'north', 'x'), (2, 'north', 'y')");
      await tx.query("insert into second_of values (1, 'north', 'z')");
      await tx.query("update first_of set title = 'z' where id = 1");
      const [row] = await tx.query<{ txid: string }>("select pg_current_xact_id()::xid::text as txid");
      return Number(row?.txid);
    });
    await t.db.query("update first_of set title = 'last' where id = 2");
    const a = await readShape(node, { table: "first_of" }, {}, one);
    const b = await readShape(node, { table: "second_of" }, {}, two);
    const headers = a.flatMap(({ body }) => body).map((message) => message.headers);
    expect(headers.slice(0, 3).map(({ txids, lsn, last }) => ({ txids, lsn, last }))).toEqual([
      { txids: [txid], lsn: headers[0].lsn, last: undefined },
      { txids: [txid], lsn: headers[0].lsn, last: undefined },
      { txids: [txid], lsn: headers[0].lsn, last: true },
    ]);
    expect(b[0]?.body[0].headers).toMatchObject({ txids: [txid], lsn: headers[0].lsn, last: true });
    // Once, though others follow that have nothing of the shape.
    expect(b[0]?.text.match(/"last"/g)).toHaveLength(1);
    expect(headers.map(({ op_position }) => op_position).slice(0, 4)).toEqual([0, 1, 3, 0]);
    expect(Number(headers[3].lsn)).toBeGreaterThan(Number(headers[0].lsn) + 3);
  });

  it("tells what came into sight of a filter, and what left it", async () => {
    await makeTable("filtered");
    await t.db.query("insert into filtered values (1, 'north', 'in'), (2, 'north', 'out')");
    const node = await startNode(t);
    const query = { table: "filtered", where: "title like $1", "params[1]": "in%" };
    const replies = await readShape(node, query);
    expect(replies.flatMap(operations)).toEqual([
      `insert "public"."filtered"/"1" {"id":"1","team":"north","title":"in"}`,
    ]);
    for (const [id, title] of [
      [2, "inside"],
      [1, "out"],
      [2, "in two"],
      [1, "outer"],
      [2, "gone"],
    ]) {
      await t.db.query("update filtered set title = $2 where id = $1", [id, title]);
    }
    expect((await readShape(node, query, {}, replies.at(-1))).flatMap(operations)).toEqual([
      `insert "public"."filtered"/"2" {"id":"2","team":"north","title":"inside"}`,
      `delete "public"."filtered"/"1" {"id":"1"}`,
      `update "public"."filtered"/"2" {"id":"2","title":"in two"}`,
      `delete "public"."filtered"/"2" {"id":"2"}`,
    ]);
  });

  it("tells nothing of rows out of sight, not even by failing for one", async () => {
    await makeTable("unseen");
    await t.db.query("insert into unseen values (1, 'north', '1'), (2, 'elsewhere', 'secret')");
    const node = await startNode(t);
    for (const where of ["title::int = 1", "1 / (id - 2) = -1"]) {
      const query = { table: "unseen", where };
      const begun = await readShape(node, query);
      expect(begun.flatMap(operations), where).toHaveLength(1);
      await t.db.query("update unseen set title = title where id = 2");
      expect((await readShape(node, query, {}, begun.at(-1)))[0]?.status).toBe(200);
      const subset = await askShape(
        node,
        { table: "unseen", log: "changes_only", offset: "now" },
        { method: "POST", body: JSON.stringify({ where }) },
      );
      expect([subset.status, subset.body.data?.length]).toEqual([200, 1]);
    }
  });

  it("ends what takes too long, for who asked alone", async () => {
    if (t.url === undefined) return;
    await makeTable("slow");
    await t.db.query("insert into slow select g, 'north', repeat('a', 3001) from generate_series(1, 3000) g");
    const node = await startNode(t, { env: { PERCH_SHAPE_STATEMENT_MS: "2000" } });
    const where = "title ~ '^(a+)(a+)\\1\\2$'";
    const slow = askShape(node, { table: "slow", where, offset: "-1" });
    const other = await askShape(node, { table: "slow", where: "id = 1", offset: "-1" }, { token: "ben" });
    expect(operations(other)).toHaveLength(1);
    expect(await slow).toMatchObject({ status: 503, body: { message: expect.stringContaining("unavailable") } });
    expect((await slow).headers.get("retry-after")).toBe("1");
  });

  it("says how it is", async () => {
    const node = await startNode(t);
    const response = await fetch(`${node.gateway.url}/v1/health`);
    expect([response.status, await response.json()]).toEqual([200, { status: "active" }]);
  });
});
