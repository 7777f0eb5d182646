import { beforeAll, expect, it } from "vitest";
import { makeSpace, startNode, until } from "../gateway/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { syncTable } from "../tables/support.js";
import { askShape, followShape, operations, readShape } from "./shape-support.js";

describeBothKinds("shapes over HTTP", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await makeSpace(t, "north", "ada");
    await makeSpace(t, "south", "ben");
  });

  /** A table of a name of its own, synced. */
  async function makeTable(name: string, more = "") {
    await t.db.query(`create table ${name} (id int primary key, team text, title text, n numeric ${more})`);
    await syncTable(t.db, name, "space_column => 'team'");
  }

  it("begin with the rows that are there, and go on with what happens to them", async () => {
    await makeTable("basics");
    await t.db.query(
      `insert into basics values (1, 'north', 'one', 1.50), (2, 'south', 'two', 2), (3, 'north', null, 3)`,
    );
    const node = await startNode(t);
    const query = { table: "basics" };
    const first = await askShape(node, { ...query, offset: "-1" });
    expect(first.status).toBe(200);
    expect(operations(first)).toEqual([
      `insert "public"."basics"/"1" {"id":"1","team":"north","title":"one","n":"1.50"}`,
      `insert "public"."basics"/"3" {"id":"3","team":"north","title":null,"n":"3"}`,
    ]);
    expect(first.body.at(-1).headers).toMatchObject({ control: "snapshot-end", xip_list: expect.any(Array) });
    expect(first.headers.has("electric-up-to-date")).toBe(false);
    expect(JSON.parse(first.headers.get("electric-schema") ?? "")).toEqual({
      id: { type: "int4", pk_index: 0, not_null: true },
      team: { type: "text" },
      title: { type: "text" },
      n: { type: "numeric" },
    });
    // Where the log goes on is in the handle.
    expect(first.offset).toBe("0_0");
    const { handle } = first;
    const second = await askShape(node, { ...query, offset: first.offset, handle });
    expect(second.body).toEqual([{ headers: { control: "up-to-date", global_last_seen_lsn: expect.any(String) } }]);
    expect(second.headers.get("electric-up-to-date")).toBe("");

    await t.db.query("update basics set title = 'uno' where id = 1");
    await t.db.query("insert into basics values (4, 'north', 'four', 4)");
    await t.db.query("delete from basics where id = 3");
    await t.db.query("update basics set title = 'dos' where id = 2");
    const third = await askShape(node, { ...query, offset: second.offset, handle });
    expect(operations(third)).toEqual([
      `update "public"."basics"/"1" {"id":"1","title":"uno"}`,
      `insert "public"."basics"/"4" {"id":"4","team":"north","title":"four","n":"4"}`,
      `delete "public"."basics"/"3" {"id":"3"}`,
    ]);
    expect(third.body[0].headers).toMatchObject({ relation: ["public", "basics"], op_position: 0, last: true });
    const whole = await readShape(node, { ...query, replica: "full" }, {}, second);
    expect(whole.map(({ status }) => status)).toEqual([409]);
  });

  it("say what was, and whole rows, with replica=full", async () => {
    await makeTable("wholes");
    await t.db.query(`insert into wholes values (1, 'north', 'one', 1), (2, 'north', 'two', 2)`);
    const node = await startNode(t);
    const query = { table: "wholes", replica: "full" };
    const last = (await readShape(node, query)).at(-1);
    await t.db.query("update wholes set title = 'uno' where id = 1");
    await t.db.query("delete from wholes where id = 2");
    const [reply] = await readShape(node, query, {}, last);
    expect(reply?.body.slice(0, 2)).toMatchObject([
      { value: { id: "1", team: "north", title: "uno", n: "1" }, old_value: { title: "one" } },
      { value: { id: "2", team: "north", title: "two", n: "2" } },
    ]);
    expect(reply?.body[0].old_value).toEqual({ title: "one" });
  });

  it("show the columns that are asked for, and the key among them", async () => {
    await makeTable("columns");
    await t.db.query(`insert into columns values (1, 'north', 'one', 1)`);
    const node = await startNode(t);
    const replies = await readShape(node, { table: "columns", columns: 'id,"title"' });
    expect(replies.flatMap(operations)).toEqual([`insert "public"."columns"/"1" {"id":"1","title":"one"}`]);
    expect(Object.keys(JSON.parse(replies[0]?.headers.get("electric-schema") ?? ""))).toEqual(["id", "title"]);
    expect(await askShape(node, { table: "columns", columns: "title", offset: "-1" })).toMatchObject({
      status: 400,
      body: { message: "Invalid request", errors: { columns: [expect.stringContaining("primary key")] } },
    });
    expect(await askShape(node, { table: "columns", columns: "id,nothing", offset: "-1" })).toMatchObject({
      status: 400,
    });
  });

  it("wait for what is new, and tell a reader that nothing is", async () => {
    await makeTable("lively");
    const node = await startNode(t, { env: { PERCH_SHAPE_WAIT_MS: "1500", PERCH_RECHECK_MS: "60000" } });
    const query = { table: "lively" };
    const last = (await readShape(node, query)).at(-1);
    const from = { offset: last?.offset ?? "", handle: last?.handle ?? "", live: "true" };
    const waiting = askShape(node, { ...query, ...from });
    await t.db.query("insert into lively values (1, 'south', 'elsewhere', 0)");
    await t.db.query("insert into lively values (2, 'north', 'here', 0)");
    const told = await waiting;
    expect(operations(told)).toHaveLength(1);
    expect(told.headers.get("electric-cursor")).toMatch(/^\d+$/);
    expect(told.headers.has("electric-schema")).toBe(false);
    const idle = await askShape(node, { ...query, ...from, offset: told.offset, cursor: "1" });
    expect(idle).toMatchObject({ status: 200, body: [{ headers: { control: "up-to-date" } }] });
    expect(idle.headers.get("electric-has-data")).toBe("false");
  });

  it("begin now, without what was before", async () => {
    await makeTable("present");
    await t.db.query(`insert into present values (1, 'north', 'before', 1)`);
    const node = await startNode(t);
    const now = await askShape(node, { table: "present", offset: "now" });
    expect(now.body).toEqual([{ headers: { control: "up-to-date", global_last_seen_lsn: expect.any(String) } }]);
    await t.db.query(`insert into present values (2, 'north', 'after', 2)`);
    const replies = await readShape(node, { table: "present" }, {}, now);
    expect(replies.flatMap(operations)).toEqual([expect.stringContaining("after")]);
    const only = await readShape(node, { table: "present", log: "changes_only" });
    expect(only.flatMap(operations)).toEqual([]);
    // What it begins with is a snapshot all the same, of nothing: it says which transactions are behind.
    expect(
      only.flatMap(({ body }) => body.map(({ headers }: { headers: { control: string } }) => headers.control)),
    ).toEqual(["snapshot-end", "up-to-date"]);
  });

  it("give chunks of a bounded size however the length of rows changes", async () => {
    await makeTable("uneven");
    // Of the long ones some are short where they are stored, compressed, and some where JSON does not escape them.
    await t.db.query(
      `insert into uneven select g, 'north', case when g between 1500 and 1520 then repeat('x', 30000)
         when g between 1600 and 1610 then (select string_agg(md5((g * n)::text), '') from generate_series(1, 1000) n)
         when g between 2000 and 2300 then repeat(chr(7), 500)
         else 'short' end, g from generate_series(1, 3000) g`,
    );
    const node = await startNode(t, { env: { PERCH_SHAPE_CHUNK_BYTES: "50000" } });
    const replies = await readShape(node, { table: "uneven" });
    const lengths = replies.map(({ body }) => JSON.stringify(body).length);
    expect(Math.max(...lengths)).toBeLessThan(50_000 + 2 * 33_000);
    expect(lengths.length).toBeLessThan(60);
    const ids = replies.flatMap(({ body }) => body.flatMap(({ value }: { value?: { id: string } }) => value?.id ?? []));
    expect(ids).toEqual(Array.from({ length: 3000 }, (_, nth) => String(nth + 1)));
  });

  it("tell values as Postgres writes them as text, whichever columns are null, of many columns and of composite keys", async () => {
    const types = [
      "bigint",
      "text",
      "boolean",
      "numeric",
      "jsonb",
      "timestamptz",
      "text[]",
      "double precision",
      "bytea",
      "xml",
    ];
    const values = [
      "12345678901234567",
      "'a\"b\\c' || chr(10) || '\u00e4'",
      "true",
      "1.50",
      `'{"b": 1,  "a": "\\"x"}'`,
    ].concat("'2026-01-02 03:04:05.6+02'", "'{a,\"b c\",NULL}'", "0.1", "'\\xdeadbeef'", "'<a>&lt;</a>'");
    const columns = Array.from({ length: 61 }, (_, nth) => nth);
    await t.db.query(
      `create table wide_rows (team text not null, "from ""x""" integer[], at date, ${columns
        .map((nth) => `c${nth} ${types[nth % 10]} ${nth % 4 === 3 ? `not null default ${values[nth % 10]}` : ""}`)
        .join()}, primary key ("from ""x""", at))`,
    );
    for (let row = 0; row < 8; row++) {
      const cells = columns.map((nth) =>
        nth % 4 !== 3 && (nth * 7 + row) % (row + 1) !== 0 ? "null" : values[nth % 10],
      );
      await t.db.query(`insert into wide_rows values ('north', '{${row},1}', '2026-01-0${row + 1}', ${cells.join()})`);
    }
    await syncTable(t.db, "wide_rows", "space_column => 'team'");
    const node = await startNode(t);
    const replies = await readShape(node, { table: "wide_rows" });
    const told = replies.flatMap(({ body }) => body.flatMap(({ value }: { value?: object }) => value ?? []));
    const [row] = await t.db.query<{ told: string }>(
      `select json_agg(r order by r.at)::text as told from (select ${[
        "team",
        '"from ""x"""',
        "at",
        ...columns.map((nth) => `c${nth}`),
      ]
        .map((name) =>
          /^c\d*5$/.test(name) ? `(${name} at time zone 'UTC')::text || '+00' as ${name}` : `${name}::text`,
        )
        .join()} from wide_rows) r`,
    );
    expect(told).toEqual(JSON.parse(row?.told ?? ""));
    expect(replies[0]?.body[1].key).toBe('"public"."wide_rows"/"{1,1}"/"2026-01-02"');
  });

  it("give a large table in chunks, which show one moment while it is being changed", async () => {
    await makeTable("larges");
    await t.db.query(
      `insert into larges select g, case when g % 2 = 0 then 'north' else 'south' end, repeat('x', 100), g from generate_series(1, 2000) g`,
    );
    const node = await startNode(t, { env: { PERCH_SHAPE_CHUNK_BYTES: "20000" } });
    const query = { table: "larges" };
    const seen = new Map<string, unknown>();
    let from: { offset: string; handle?: string } = { offset: "-1" };
    let chunks = 0;
    for (;;) {
      const reply = await askShape(node, { ...query, ...from });
      expect(reply.status).toBe(200);
      for (const { key, value, headers } of reply.body) {
        if (headers.operation === undefined) continue;
        expect(headers.operation).toBe("insert");
        expect(seen.has(key)).toBe(false);
        seen.set(key, value);
      }
      chunks += 1;
      from = { offset: reply.offset, handle: reply.handle };
      if (reply.body.at(-1)?.headers.control === "snapshot-end") break;
      // What is behind the reader, and what is before it; some of it has no number when the next chunk is read.
      await t.db.query("update larges set n = n + 1 where id % 100 in (0, 50)");
      await t.db.query("delete from larges where id = $1", [2000 - chunks * 2]);
      await t.db.query("insert into larges values ($1, 'north', 'new', 0)", [3000 + chunks]);
      await t.db.query("update larges set team = 'south' where id = $1", [1500 + chunks * 2]);
    }
    expect(chunks).toBeGreaterThan(5);
    expect(seen.size).toBe(1000);
    expect([...seen.values()]).toEqual(expect.arrayContaining([expect.objectContaining({ id: "2000", n: "2000" })]));
    // And the log goes on from that moment to what is there now.
    const state = new Map(seen);
    for (const reply of await readShape(node, query, {}, from)) {
      for (const { key, value, headers } of reply.body) {
        if (headers.operation === undefined) continue;
        expect([key, state.has(key)]).toEqual([key, headers.operation !== "insert"]);
        if (headers.operation === "delete") state.delete(key);
        else state.set(key, { ...(state.get(key) as object), ...value });
      }
    }
    const rows = await t.db.query("select id::text, team, title, n::text from larges where team = 'north'");
    expect(new Map(rows.map((row) => [`"public"."larges"/"${row.id}"`, row]))).toEqual(state);
  });

  it("are followed by the published client, as it is", async () => {
    await makeTable("published", ", on_day date, tags text[], meta jsonb");
    await t.db.query(
      `insert into published values (1, 'north', 'one', 1.5, '2026-02-03', '{a,"b c"}', '{"deep": [1, null]}')`,
    );
    const node = await startNode(t);
    const { shape, errors } = followShape(node, { table: "published" });
    expect(await shape.rows).toEqual([
      {
        id: 1,
        team: "north",
        title: "one",
        n: "1.5",
        on_day: "2026-02-03",
        tags: ["a", "b c"],
        meta: { deep: [1, null] },
      },
    ]);
    await t.db.query("insert into published (id, team, title) values (2, 'north', 'two')");
    await t.db.query("update published set title = 'uno', meta = '[]' where id = 1");
    await until(() => shape.currentRows.length === 2 && shape.currentRows[0]?.title === "uno", "both changes");
    await t.db.query("update published set team = 'south' where id = 1");
    await until(() => shape.currentRows.length === 1, "the row to have left");
    await t.db.query("update published set team = 'north', title = 'back' where id = 1");
    await until(() => shape.currentRows.length === 2, "the row to be back");
    expect(shape.currentRows.find(({ id }) => id === 1)).toMatchObject({ title: "back", meta: [] });
    expect(errors).toEqual([]);
  });
});
