import { LoroDoc } from "loro-crdt";
import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../../support/databases.js";
import { blob, declarePages, key, state } from "./support.js";

const pushUpdate = `select perch.push_update(app_id => 'notes', table_name => 'pages', record_id => $1, update => $2, op_id => $3) as seq`;
const patchDocument = `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1, patch => $2::jsonb, base_seq => $3) as seq`;

describeEachEngine("Documents written by SQL", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declarePages(t);
  });

  const push = (id: string, content: string, op: string | null = null) =>
    t.asUser("ada", async (tx) => (await tx.query<{ seq: number }>(pushUpdate, [id, blob(content), op]))[0]?.seq);
  const patch = (id: string, value: unknown, base: number | null = null) =>
    t.asUser(
      "ada",
      async (tx) => (await tx.query<{ seq: number }>(patchDocument, [id, JSON.stringify(value), base]))[0]?.seq,
    );

  it("are pending, and seen by no reader, until a worker has merged them", async () => {
    expect(await push("a", "one")).toBe(1);
    expect(await patch("a", { title: "x" }, 1)).toBe(2);
    expect(await t.asUser("ada", (tx) => state(tx, "a"))).toEqual({ snapshot: null, updates: [], head: 0 });
    expect(await t.asWorker((tx) => tx.query("select * from perch.pending_documents()"))).toContainEqual({
      space_id: "~ada",
      app_id: "notes",
      table_name: "pages",
      record_id: "a",
    });
    const items = await t.asWorker(async (tx) => {
      const claimed = await tx.query<{ seq: number; kind: string }>(
        "select * from perch.claim_inbox($1, $2, $3, $4)",
        key("a"),
      );
      await tx.query("select perch.finish_inbox($1, $2, $3, $4, 1, $5, null)", [...key("a"), blob("one")]);
      await tx.query(`select perch.finish_inbox($1, $2, $3, $4, 2, null, '{"code": "PE422"}')`, key("a"));
      return claimed.map((item) => [item.seq, item.kind]);
    });
    expect(items).toEqual([
      [1, "update"],
      [2, "patch"],
    ]);
    expect(await t.asUser("ada", (tx) => state(tx, "a"))).toEqual({ snapshot: null, updates: ["one"], head: 3 });
    expect(await t.asWorker((tx) => tx.query("select * from perch.claim_inbox($1, $2, $3, $4)", key("a")))).toEqual([]);
    expect(
      await t.db.query("select seq, error from perch.document_inbox where record_id = 'a' and status = 'rejected'"),
    ).toEqual([{ seq: 2, error: { code: "PE422" } }]);
  });

  it("hide no other document, however many they are", async () => {
    await t.db.query(`
      insert into perch.document_inbox (space_id, app_id, table_name, record_id, seq, kind, payload, user_id)
      select '~ada', 'notes', 'pages', case when n < 6000 then 'many' else 'few' || n end, n, 'update', '\\x00', 'ada'
        from generate_series(1, 6002) n`);
    await t.db.query(`
      insert into perch.column_writes (space_id, app_id, table_name, record_id, ordinal, user_id)
      select 'team', 'notes', 'rows', case when n < 6000 then 'many' else 'few' || n end, n, 'ada'
        from generate_series(1, 6002) n`);
    const found = await t.asWorker((tx) =>
      tx.query<{ name: string }>("select table_name || '/' || record_id as name from perch.pending_documents()"),
    );
    expect(found.map(({ name }) => name).sort()).toEqual([
      ...["few6000", "few6001", "few6002", "many"].map((id) => `pages/${id}`),
      ...["few6000", "few6001", "few6002", "many"].map((id) => `rows/${id}`),
    ]);
    await t.db.query("delete from perch.column_writes");
    await t.db.query("delete from perch.document_inbox where record_id = 'many' or record_id like 'few%'");
  });

  it("leave nothing when the transaction rolls back", async () => {
    await expect(
      t.asUser("ada", async (tx) => {
        await tx.query(pushUpdate, ["b", blob("never"), "op-b"]);
        throw new Error("changed my mind");
      }),
    ).rejects.toThrow("changed my mind");
    expect(await t.db.query("select 1 from perch.documents where record_id = 'b'")).toEqual([]);
    expect(await push("b", "other", "op-b")).toBe(1);
  });

  it("are applied once for one op_id, and refused when it comes with other content", async () => {
    expect(await push("c", "one", "op-c")).toBe(1);
    expect(await push("c", "one", "op-c")).toBe(1);
    await expect(push("c", "two", "op-c")).rejects.toMatchObject({ code: "PE409", detail: { op_id: "op-c" } });
    await expect(push("d", "one", "op-c")).rejects.toMatchObject({ code: "PE409" });
    expect(await t.db.query("select count(*) as n from perch.document_inbox where record_id = 'c'")).toEqual([
      { n: 1 },
    ]);
  });

  it.each([
    ["an unknown field", { colour: "red" }, { table: "pages", field: "colour" }],
    ["a number for a text", { body: 3 }, { field: "body", expected: "text", got: "number" }],
    ["a fraction for an integer", { stars: 3.5 }, { field: "stars", expected: "integer", got: "number" }],
    ["words for an integer", { stars: "many" }, { field: "stars", expected: "integer", got: "string" }],
    ["an object for a list", { tags: {} }, { field: "tags", expected: "list", got: "object" }],
    [
      "one bad field among good ones",
      { title: "x", stars: true },
      { field: "stars", expected: "integer", got: "boolean" },
    ],
    ["an array for a patch", ["x"], { expected: "object", got: "array" }],
  ])("refuse %s whole, naming it", async (_, value, detail) => {
    await expect(patch("e", value)).rejects.toMatchObject({ code: "PE422", detail });
    expect(await t.db.query("select 1 from perch.documents where record_id = 'e'")).toEqual([]);
  });

  it("take null, a decimal string for a large integer, and several fields at once", async () => {
    expect(await patch("f", { title: null, stars: "9007199254740993", tags: ["a"], body: "text" })).toBe(1);
  });

  it("refuse what is no Loro update, what is too large, and a base that does not exist", async () => {
    const pushBytes = (bytes: Uint8Array) => t.asUser("ada", (tx) => tx.query(pushUpdate, ["g", bytes, null]));
    await expect(pushBytes(Buffer.from("not loro at all, though long enough"))).rejects.toMatchObject({
      code: "PE422",
    });
    await expect(pushBytes(Buffer.from("loro"))).rejects.toMatchObject({ code: "PE422" });
    await expect(
      t.asUser("ada", async (tx) => {
        await tx.query("set local perch.max_update_bytes = 100");
        await tx.query(pushUpdate, ["g", blob("x".repeat(100)), null]);
      }),
    ).rejects.toMatchObject({ code: "PE413", detail: { limit: "max_update_bytes", max: 100, got: 122 } });
    await expect(patch("g", { title: "x" }, -1)).rejects.toMatchObject({ code: "PE422" });
    await expect(patch("g", { title: "x" }, 1)).rejects.toMatchObject({
      code: "PE410",
      detail: { argument: "base_seq" },
    });
  });

  it("need a user, a declared table and a space that the user may write", async () => {
    await expect(t.db.query(pushUpdate, ["h", blob("x"), null])).rejects.toMatchObject({ code: "PE401" });
    await expect(
      t.asUser("ada", (tx) => tx.query("select perch.push_update('notes', 'elsewhere', 'h', $1)", [blob("x")])),
    ).rejects.toMatchObject({ code: "PE404" });
    await expect(
      t.asUser("ada", (tx) => tx.query("select perch.push_update('notes', 'pages', 'h', $1, '~bob')", [blob("x")])),
    ).rejects.toMatchObject({ code: "PE403", detail: { space_id: "~bob" } });
  });

  it("keep their tables' declared kinds, and may gain fields", async () => {
    const declare = (fields: unknown) =>
      t.db.query("select perch.declare_table('notes', 'cards', $1::jsonb)", [JSON.stringify(fields)]);
    await declare({ title: "string" });
    await declare({ title: "string", done: "boolean" });
    expect(await t.db.query("select fields from perch.document_tables where table_name = 'cards'")).toEqual([
      { fields: { title: "string", done: "boolean" } },
    ]);
    await expect(declare({ title: "text" })).rejects.toMatchObject({ code: "PE422", detail: { field: "title" } });
    await expect(declare({ x: "strings" })).rejects.toMatchObject({ code: "PE422", detail: { field: "x" } });
    await expect(declare({ fields: "text" })).rejects.toMatchObject({ code: "PE422" });
    await expect(declare({})).rejects.toMatchObject({ code: "PE422" });
    for (const name of ["a/b", "/", "🤝:a", "__proto__", "tab\there", ""]) {
      await expect(declare({ [name]: "text" })).rejects.toMatchObject({ code: "PE422" });
    }
    await expect(declare({ ["n".repeat(129)]: "text" })).rejects.toMatchObject({
      code: "PE413",
      detail: { limit: "field_bytes", max: 128, got: 129 },
    });
    // The longest name and the oddest characters that are let in can be those of a container.
    const odd = ["n".repeat(128), "a🤝:", "é 漢字", "proto__", "a>b"];
    await declare(Object.fromEntries(odd.map((name) => [name, "text"])));
    const doc = new LoroDoc();
    for (const name of odd) doc.getText(name).insert(0, "x");
    const app = await t.login("perch_app");
    await expect(app.query(`select perch.declare_table('notes', 'mine', '{"a": "text"}')`)).rejects.toMatchObject({
      code: "42501",
    });
  });

  it("have at most so many fields a table, however they are declared", async () => {
    const declare = (from: number, count: number) =>
      t.db.query("select perch.declare_table('notes', 'wide', $1::jsonb)", [
        JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${from + index}`, "string"]))),
      ]);
    const refusal = { code: "PE413", detail: { limit: "max_fields", max: 1_000, got: 1_001, table: "wide" } };
    await expect(declare(0, 1_001)).rejects.toMatchObject(refusal);
    await declare(0, 900);
    await expect(declare(500, 501)).rejects.toMatchObject(refusal);
    await declare(500, 500);
  });
});

describeEachPostgres("Documents written by SQL from several connections", (open) => {
  it("are applied once when twenty send the same op_id at once", async () => {
    const t = await open();
    await declarePages(t);
    const results = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const app = await t.login("perch_app");
        return app.transaction(async (tx) => {
          await tx.query("select perch.set_context('ada')");
          return (await tx.query<{ seq: number }>(pushUpdate, ["a", blob("once"), "op-1"]))[0]?.seq;
        });
      }),
    );
    expect(new Set(results)).toEqual(new Set([1]));
    expect(await t.db.query("select count(*) as n from perch.document_inbox")).toEqual([{ n: 1 }]);
  });

  it("wait for each other under lock_document, also before the first write", async () => {
    const t = await open();
    await declarePages(t);
    const order: string[] = [];
    const locked = async (name: string, holdMs: number) => {
      const app = await t.login("perch_app");
      await app.transaction(async (tx) => {
        await tx.query("select perch.set_context('ada')");
        await tx.query("select perch.lock_document('notes', 'pages', 'unborn')");
        order.push(`${name} in`);
        await new Promise((done) => setTimeout(done, holdMs));
        order.push(`${name} out`);
      });
    };
    await Promise.all([locked("a", 150), locked("b", 150)]);
    expect([order[0]?.[0], order[2]?.[0]].toSorted()).toEqual(["a", "b"]);
    expect(order[0]?.[0]).toBe(order[1]?.[0]);
  });

  it("are claimed by one worker at a time, and by the next when it dies", async () => {
    const t = await open();
    await declarePages(t);
    await t.asUser("ada", (tx) => tx.query(pushUpdate, ["a", blob("one"), null]));
    const [first, second] = [await t.login("perch_worker"), await t.login("perch_worker")];
    const claim = "select seq from perch.claim_inbox($1, $2, $3, $4)";
    let die: () => void = () => undefined;
    const holding = new Promise<void>((claimed, failed) => {
      first
        .transaction(async (tx) => {
          expect(await tx.query(claim, key("a"))).toEqual([{ seq: 1 }]);
          claimed();
          await new Promise<void>((done) => {
            die = done;
          });
          throw new Error("died");
        })
        .catch((error: Error) => (error.message === "died" ? undefined : failed(error)));
    });
    await holding;
    expect(await second.query(claim, key("a"))).toEqual([]);
    die();
    await expect.poll(() => second.query(claim, key("a"))).toEqual([{ seq: 1 }]);
  });
});
