import { beforeAll, expect, it } from "vitest";
import { refusedColumns } from "../../src/cli/doctor-tables.js";
import { DocumentStore } from "../../src/documents/index.js";
import type { DocumentKey } from "../../src/documents/key.js";
import { createRowAdopter } from "../../src/documents/live/row-adopter.js";
import { problemOf } from "../../src/http/problems.js";
import { withContext } from "../../src/identity/context.js";
import { joinRefusal } from "../../src/rooms/room.js";
import { type Client, cleanup, connect, eventually } from "../documents/live/support.js";
import { describeBothKinds, type TestDatabase } from "../support/databases.js";
import { adopt, patchDocument, startWorkerNode, type WorkerNode } from "../worker/support.js";
import { logOf, sequence, syncTable } from "./support.js";

const ann = { userId: "ann", clientId: "ann-1", spaceIds: ["team"], writableSpaceIds: ["team"] };

describeBothKinds("documents in columns", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query(
      "create table notes (id int primary key, team text, title varchar(20), body text not null, check (body <> 'forbidden'))",
    );
    await syncTable(
      t.db,
      "notes",
      `space_column => 'team', documents => '{"title": "string", "body": "text"}', writable_columns => '{title,body}'`,
    );
  });

  let ids = 0;
  /** A row with this body. Out: the key of its document. */
  async function note(body: string): Promise<DocumentKey> {
    const id = ++ids;
    await t.db.query("insert into notes values ($1, 'team', 'a title', $2)", [id, body]);
    return { spaceId: "team", appId: "shop", tableName: "notes", recordId: String(id) };
  }
  const set = (key: DocumentKey, expression: string) =>
    t.db.query(`update notes set body = ${expression} where id = $1`, [Number(key.recordId)]);
  async function body(key: DocumentKey): Promise<string | undefined> {
    const [found] = await t.db.query<{ body: string }>("select body from notes where id = $1", [Number(key.recordId)]);
    return found?.body;
  }
  const shows = (key: DocumentKey, wanted: string) =>
    eventually(async () => (await body(key)) === wanted, `the column to be ${wanted}`);
  const says = (client: Client, wanted: string) =>
    eventually(() => client.text() === wanted, `the editor to have ${wanted}`);
  async function editor(node: WorkerNode, key: DocumentKey): Promise<Client> {
    await adopt(node, key);
    return connect(node, key, ann);
  }
  const inTeam = <T>(work: Parameters<typeof withContext<T>>[2]) =>
    withContext(t.db, { userId: "ann", spaceIds: ["team"], writableSpaceIds: ["team"] }, work);

  it("begin with what the row has, when somebody opens one", async () => {
    const key = await note("what was there");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    expect(editing.text()).toBe("what was there");
    expect(editing.doc.getMap("fields").get("title")).toBe("a title");
  });

  it("may be asked for again where no worker comes to it in time", async () => {
    const adopt = createRowAdopter(await t.login("perch_worker"), 1);
    const error = await adopt(await note("waiting")).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ message: expect.stringContaining("no worker has merged") });
    expect(problemOf(error)).toMatchObject({ status: 503 });
    expect(joinRefusal(error)).toBeUndefined();
  });

  it("write their columns as their editor, and the log has it", async () => {
    const key = await note("one");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type(" two");
    await shows(key, "one two");
    await eventually(async () => {
      await sequence(t.db);
      return (await logOf(t.db, "team")).at(-1) === `update notes/${key.recordId} {"body": "one two"}`;
    }, "the log to have it");
    const [entry] = await t.db.query(
      "select user_id from perch.sync_changes where space_id = 'team' order by seq desc limit 1",
    );
    expect(entry).toEqual({ user_id: "ann" });
  });

  it("take what plain SQL writes, one statement after the other, merged with what is typed meanwhile", async () => {
    const key = await note("milk");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type(", tea");
    await set(key, "body || '!'");
    await set(key, "'buy ' || body");
    await eventually(() => editing.text().includes("buy ") && editing.text().includes("!"));
    expect(editing.text()).toMatch(/^buy milk(, tea!|!, tea)$/);
    await shows(key, editing.text());
  });

  it("leave digits that a document cannot hold in the columns that nobody edits", async () => {
    await t.db.query(
      `create table ledgers (id int primary key, team text, body text, total numeric, many bigint, facts jsonb, at timestamptz)`,
    );
    const documents = { body: "text", total: "number", many: "integer", facts: "json", at: "datetime" };
    await syncTable(t.db, "ledgers", `space_column => 'team', documents => '${JSON.stringify(documents)}'`);
    const exact = `'{"n": [12345678901234567.25, 9007199254740993, 1.50, "12345678901234567.25"], "m": 0.1}'`;
    await t.db.query(
      `insert into ledgers values (1, 'team', 'one', 12345678901234567890.125, 9007199254740993, ${exact}, '2026-01-01 00:00+00')`,
    );
    const key = { spaceId: "team", appId: "shop", tableName: "ledgers", recordId: "1" };
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type(" two");
    const columns = async () =>
      (await t.db.query<Record<string, string>>("select body, total::text, many::text, facts::text from ledgers"))[0] ??
      {};
    await eventually(async () => (await columns()).body === "one two", "the column to have it");
    expect(await columns()).toEqual({
      body: "one two",
      total: "12345678901234567890.125",
      many: "9007199254740993",
      facts: '{"m": 0.1, "n": [12345678901234567.25, 9007199254740993, 1.50, "12345678901234567.25"]}',
    });
    expect(await t.db.query("select from perch.column_writes where table_name = 'ledgers' and placed is null")).toEqual(
      [],
    );
    // What is edited is what the editor says, and what plain SQL writes what that says.
    editing.doc.getMap("fields").set("total", 12345678901234568);
    await editing.send();
    await eventually(async () => (await columns()).total === "12345678901234568", "the number to be the editor's");
    await t.db.query("update ledgers set total = 98765432109876543.5, facts = '[0.12345678901234567890]'");
    await editing.type(" three");
    await eventually(async () => (await columns()).body === "one two three", "the column to have it");
    await eventually(() => editing.doc.getMap("fields").get("total") === 98765432109876540, "the editor to have it");
    expect(await columns()).toMatchObject({ total: "98765432109876543.5", facts: "[0.12345678901234567890]" });
  });

  it("are refused in columns that do not hold what a document has", async () => {
    await t.db.query("create table plans (id int primary key, team text, at timestamp, day date, clock time)");
    const withDatetime = (column: string) =>
      syncTable(t.db, "plans", `space_column => 'team', documents => '{"${column}": "datetime"}'`);
    for (const column of ["at", "clock"]) await expect(withDatetime(column)).rejects.toThrow("does not hold");
    await withDatetime("day");
  });

  it("keep the columns that they began with, so that what another one has is not taken for deleted", async () => {
    await t.db.query("create table pages (id int primary key, team text, title text, body text)");
    const withDocuments = (documents: string) =>
      syncTable(t.db, "pages", `space_column => 'team', documents => '${documents}'`);
    await withDocuments('{"body": "text"}');
    await withDocuments('{"body": "text", "title": "string"}');
    await t.db.query("select perch.unsync_table('pages')");
    await withDocuments('{"body": "text"}');
    await t.db.query("insert into pages values (1, 'team', 'the title', 'one')");
    const key = { spaceId: "team", appId: "shop", tableName: "pages", recordId: "1" };
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type("!");
    const page = async () => (await t.db.query("select title, body from pages"))[0];
    await eventually(async () => (await page())?.body === "one!", "the column to be one!");
    const refused = await withDocuments('{"body": "text", "title": "string"}').catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "PE422", detail: { argument: "documents", column: "title" } });
    await editing.type("?");
    await eventually(async () => (await page())?.body === "one!?", "the column to be one!?");
    expect(await page()).toEqual({ title: "the title", body: "one!?" });
  });

  it("take nothing of a statement that is rolled back", async () => {
    const key = await note("kept");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    const lost = t.db.transaction(async (tx) => {
      await tx.query("update notes set body = 'lost' where id = $1", [Number(key.recordId)]);
      throw new Error("rolled back");
    });
    await expect(lost).rejects.toThrow("rolled back");
    await set(key, "body || ' on'");
    await says(editing, "kept on");
  });

  it("end with their row, and begin anew with the next under its key", async () => {
    const key = await note("old");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type("er");
    await t.db.query("delete from notes where id = $1", [Number(key.recordId)]);
    await eventually(() => editing.ended());
    await expect(adopt(node, key)).rejects.toThrow("no such row");
    await t.db.query("insert into notes values ($1, 'team', null, 'new')", [Number(key.recordId)]);
    const again = await editor(node, key);
    expect(again.text()).toBe("new");
    await again.type("est");
    await shows(key, "newest");
  });

  it("end where the row leaves its space, and where the table is emptied", async () => {
    const node = await startWorkerNode(t);
    const moved = await note("mine");
    const emptied = await note("gone");
    const [first, second] = [await editor(node, moved), await editor(node, emptied)];
    await t.db.query("update notes set team = 'other' where id = $1", [Number(moved.recordId)]);
    await eventually(() => first.ended());
    await t.db.query("truncate notes");
    await eventually(() => second.ended());
  });

  it("are only of rows that are there, and of those that somebody wants as documents", async () => {
    const node = await startWorkerNode(t);
    const missing = { spaceId: "team", appId: "shop", tableName: "notes", recordId: "999999" };
    await expect(adopt(node, missing)).rejects.toThrow("no such row");
    await expect(adopt(node, { ...missing, recordId: "no number" })).rejects.toThrow("no such row");
    const nowhere = await connect(node, missing, ann);
    await expect(nowhere.type("x")).rejects.toMatchObject({ code: "PE404" });
    const plain = await note("plain");
    await t.db.transaction(async (tx) => {
      await tx.query("set transaction isolation level repeatable read");
      await tx.query("update notes set body = 'still plain' where id = $1", [Number(plain.recordId)]);
    });
    await eventually(async () => {
      const [row] = await t.db.query<{ count: number }>("select count(*)::int as count from perch.column_writes");
      return row?.count === 0;
    }, "nothing to be left of it");
    expect((await editor(node, plain)).text()).toBe("still plain");
  });

  it("get back what the table keeps, when it refuses what was typed, and go on", async () => {
    const key = await note("forbidde");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type("n");
    await says(editing, "forbidde");
    const [refused] = await t.db.query<{ refused: { code: string; columns: string[] } }>(
      "select refused from perch.row_documents where record_id = $1",
      [key.recordId],
    );
    expect(refused?.refused).toMatchObject({ code: "23514", columns: ["body"] });
    const [finding] = await refusedColumns(t.db);
    expect(finding?.detail).toContain(`team/shop/notes/${key.recordId}`);
    await editing.type("r tree");
    await shows(key, "forbidder tree");
    expect(await refusedColumns(t.db)).toEqual([]);
  });

  it("leave in their columns what they cannot take, say so, and go on when there is something else", async () => {
    await t.db.query("create table tagged (id int primary key, team text, tags jsonb not null)");
    await syncTable(t.db, "tagged", `space_column => 'team', documents => '{"tags": "list"}'`);
    await t.db.query(`insert into tagged values (1, 'team', '["a"]'), (2, 'team', '{"no": "list"}')`);
    const node = await startWorkerNode(t);
    const key = { spaceId: "team", appId: "shop", tableName: "tagged", recordId: "1" };
    const editing = await editor(node, key);
    const put = (tags: string) => t.db.query("update tagged set tags = $1::jsonb where id = 1", [tags]);
    const tags = async () => (await t.db.query<{ tags: unknown }>("select tags from tagged where id = 1"))[0]?.tags;
    await put('{"no": "list"}');
    await eventually(async () => (await refusedColumns(t.db)).some(({ level }) => level === "error"));
    editing.doc.getList("tags").push("typed");
    await editing.send();
    // By when it would have been written.
    const other = await note("a fence");
    await (await editor(node, other)).type("!");
    await shows(other, "a fence!");
    expect(await tags()).toEqual({ no: "list" });
    await expect(adopt(node, key)).rejects.toMatchObject({ code: "PE422" });
    await put('["b"]');
    await eventually(async () => JSON.stringify(await tags())?.includes("typed"), "the column to have both");
    expect(await tags()).toEqual(expect.arrayContaining(["b", "typed"]));
    expect(await refusedColumns(t.db)).toEqual([]);
    await expect(adopt(node, { ...key, recordId: "2" })).rejects.toMatchObject({ code: "PE422" });
  });

  it("take what a trigger of the table makes of them", async () => {
    await t.db.transaction((tx) =>
      tx.script(`
        create function tidied() returns trigger language plpgsql as $$ begin new.body := trim(new.body); return new; end $$;
        create trigger tidy before update on notes for each row when (new.id = 1000) execute function tidied();
        insert into notes values (1000, 'team', null, 'a');`),
    );
    const key = { spaceId: "team", appId: "shop", tableName: "notes", recordId: "1000" };
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await editing.type("b   ");
    await says(editing, "ab");
    await shows(key, "ab");
  });

  it("take what a trigger makes of their row behind a statement, and behind what is typed", async () => {
    await t.db.transaction((tx) =>
      tx.script(`
        create function louder() returns trigger language plpgsql as $$
        begin
          update notes set body = upper(body) where id = new.id and body <> upper(body);
          return null;
        end $$;
        create trigger louder after update on notes for each row when (new.id = 2000) execute function louder();
        insert into notes values (2000, 'team', null, 'a');`),
    );
    const key = { spaceId: "team", appId: "shop", tableName: "notes", recordId: "2000" };
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await set(key, "'plain'");
    await says(editing, "PLAIN");
    await editing.type(" or not");
    await says(editing, "PLAIN OR NOT");
    await shows(key, "PLAIN OR NOT");
  });

  it("take what a statement writes to a row that a trigger behind it writes again", async () => {
    await t.db.transaction((tx) =>
      tx.script(`
        create table counted (id int primary key, team text, n int not null default 0, title text not null default '', body text not null default '');
        create function count_edit() returns trigger language plpgsql as $$ begin
          update counted set n = n + 1, title = upper(new.title) where id = new.id;
          return null;
        end $$;
        create trigger count_edit after update of body on counted for each row execute function count_edit();
        insert into counted (id, team, title, body) values (1, 'team', 'a', 'one');`),
    );
    await syncTable(t.db, "counted", `space_column => 'team', documents => '{"title": "string", "body": "text"}'`);
    const key = { spaceId: "team", appId: "shop", tableName: "counted", recordId: "1" };
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    await t.db.query("update counted set title = 'b', body = 'one two' where id = 1");
    await says(editing, "one two");
    await eventually(() => editing.doc.getMap("fields").get("title") === "B");
  });

  it("take what a trigger writes to another table's document of the same id, when theirs are shown", async () => {
    await t.db.transaction((tx) =>
      tx.script(`
        create table originals (id int primary key, team text, body text not null default '');
        create table copies (id int primary key, team text, body text not null default '');
        create function copy_body() returns trigger language plpgsql as $$ begin
          update copies set body = new.body where id = new.id;
          return null;
        end $$;
        create trigger copied after update on originals for each row execute function copy_body();
        insert into originals values (1, 'team', 'one');
        insert into copies values (1, 'team', 'one');`),
    );
    for (const table of ["originals", "copies"])
      await syncTable(t.db, table, `space_column => 'team', documents => '{"body": "text"}'`);
    const key = (tableName: string) => ({ spaceId: "team", appId: "shop", tableName, recordId: "1" });
    const node = await startWorkerNode(t);
    const [original, copy] = [await editor(node, key("originals")), await editor(node, key("copies"))];
    await original.type(" two");
    await says(copy, "one two");
  });

  it("leave alone the domains of columns beside them", async () => {
    await t.db.transaction((tx) =>
      tx.script(`create domain filled as text not null;
        create table sheets (id int primary key, team text, kind filled default 'x', body text not null default '');
        insert into sheets values (1, 'team', 'y', 'one');`),
    );
    await syncTable(t.db, "sheets", `space_column => 'team', documents => '{"body": "text"}'`);
    const node = await startWorkerNode(t);
    const editing = await editor(node, { spaceId: "team", appId: "shop", tableName: "sheets", recordId: "1" });
    await editing.type(" two");
    await eventually(async () => {
      const [row] = await t.db.query<{ body: string }>("select body from sheets");
      return row?.body === "one two";
    }, "the column to have it");
  });

  it("take pushes, patches and a store's writes", async () => {
    const key = await note("x");
    const node = await startWorkerNode(t);
    const store = new DocumentStore();
    cleanup(() => store.close());
    await withContext(t.db, { userId: "ann", spaceIds: ["team"], writableSpaceIds: ["team"] }, async (tx) => {
      const { data } = await store.applyPatch(tx, key, { body: "x by a store" });
      expect(data).toMatchObject({ body: "x by a store", title: "a title" });
      const [now] = await tx.query(
        "select perch.current_document(app_id => 'shop', table_name => 'notes', record_id => $1, space_id => 'team') as doc",
        [key.recordId],
      );
      expect(JSON.stringify(now)).toContain("x by a store");
    });
    expect(await body(key)).toBe("x by a store");
    const editing = await editor(node, key);
    await inTeam((tx) => patchDocument(tx, key, { title: "patched" }));
    await eventually(() => editing.doc.getMap("fields").get("title") === "patched");
    await inTeam((tx) =>
      tx.query("select perch.push(app_id => 'shop', client_id => 'c', changes => $1)", [
        JSON.stringify([
          { op: "update", table: "notes", id: key.recordId, space_id: "team", data: { body: "pushed" } },
        ]),
      ]),
    );
    await says(editing, "pushed");
    await editing.type("!");
    await shows(key, "pushed!");
  });

  it("merge a push that says what it is based on with what was typed since; with a base that never was, nothing of it", async () => {
    const key = await note("two three");
    const node = await startWorkerNode(t);
    const editing = await editor(node, key);
    const push = async (base: number, data: object) => {
      const change = {
        op: "update",
        table: "notes",
        id: key.recordId,
        space_id: "team",
        base_seq: base,
        op_id: `${key.recordId}-${base}`,
        data,
      };
      const [row] = await inTeam((tx) =>
        tx.query<{ answer: { results: { status: string; seq: unknown; txid?: string; error?: { code: string } }[] } }>(
          "select perch.push(app_id => 'shop', client_id => 'c', changes => $1) as answer",
          [JSON.stringify([change])],
        ),
      );
      return row?.answer.results[0];
    };
    const [before] = await inTeam((tx) =>
      tx.query<{ seq: number }>(
        "select seq from perch.current_document(app_id => 'shop', table_name => 'notes', record_id => $1, space_id => 'team')",
        [key.recordId],
      ),
    );
    editing.doc.getText("body").insert(0, "one ");
    await editing.send();
    await shows(key, "one two three");
    expect(await push(before?.seq ?? 0, { body: "two three four" })).toMatchObject({
      status: "applied",
      seq: null,
      txid: expect.any(String),
    });
    await says(editing, "one two three four");
    await shows(key, "one two three four");
    expect(await push(before?.seq ?? 0, { body: "two three four" })).toMatchObject({ status: "replayed" });
    expect(await push(9_999, { body: "lost" })).toMatchObject({ error: { code: "PE410" } });
  });
});
