import { expect, it } from "vitest";
import { withContext } from "../../src/identity/index.js";
import { type Change, follow, type PulledChange, pull, push, snapshotRecords } from "../../src/log/index.js";
import { describeBothKinds } from "../support/databases.js";

describeBothKinds("push, pull and snapshotRecords", (open) => {
  it("carry typed changes there and back", async () => {
    const { db } = await open();
    const change: Change = {
      op: "insert",
      table: "tasks",
      id: "t1",
      data: { title: "Buy milk", done: false },
      at: "2026-01-01T10:00:00Z",
      op_id: "op-1",
      actor: { type: "agent" },
      origin: "user",
    };
    const { results } = await withContext(db, { userId: "ada" }, (tx) =>
      push(tx, { appId: "todo", changes: [change], clientId: "phone" }),
    );
    expect(results).toEqual([{ op_id: "op-1", status: "applied", space_id: "~ada", seq: 1 }]);
    const page = await withContext(db, { userId: "ada" }, (tx) => pull(tx, { appId: "todo" }));
    const [pulled] = page.changes as [PulledChange];
    expect(pulled).toMatchObject({
      space_id: "~ada",
      seq: 1,
      op: "insert",
      data: { title: "Buy milk", done: false },
      at: "2026-01-01T10:00:00.000000Z",
      user_id: "ada",
      client_id: "phone",
      actor: { type: "agent" },
      origin: "user",
    });
    expect(page).toMatchObject({ has_more: false, revoked_space_ids: [] });
    const snapshot = await withContext(db, { userId: "ada" }, (tx) => snapshotRecords(tx, { appId: "todo" }));
    expect(snapshot.records).toMatchObject([{ table: "tasks", id: "t1", data: { title: "Buy milk" }, seq: 1 }]);
    expect(snapshot.next).toBeNull();
    const after = await withContext(db, { userId: "ada" }, (tx) =>
      pull(tx, { appId: "todo", cursor: snapshot.cursor }),
    );
    expect(after.changes).toEqual([]);
  });

  it("give the users' JSON exactly to a parser that the caller names, and every field to the usual one", async () => {
    const { db } = await open();
    const data = `{"n": 9007199254740993, "d": 0.1000000000000000055511151231257827, "__proto__": {"e": 12345678901234567.89}, "constructor": 1}`;
    const ada = { userId: "ada" };
    await withContext(db, ada, async (tx) => {
      const one = `[{"op": "insert", "table": "tasks", "id": "a", "actor": {"id": 9007199254740995}, "data": ${data}}]`;
      await tx.query("select perch.push(app_id => 'todo', client_id => null, changes => $1::jsonb)", [one]);
    });
    const withText = { appId: "todo", parse: (json: string) => `read: ${json}` };
    const [stored] = await db.query<{ text: string }>("select data::text as text from perch.sync_changes");
    const page = await withContext(db, ada, (tx) => pull(tx, withText));
    expect(page.changes).toMatchObject([
      { seq: 1, data: `read: ${stored?.text}`, actor: 'read: {"id": 9007199254740995}', field_meta: {} },
    ]);
    const snapshot = await withContext(db, ada, (tx) => snapshotRecords(tx, withText));
    expect(snapshot.records).toMatchObject([{ seq: 1, data: `read: ${stored?.text}` }]);
    const stop = new AbortController();
    for await (const event of follow(db, { ...withText, context: ada, signal: stop.signal })) {
      expect(event).toMatchObject({ type: "changes", changes: page.changes });
      stop.abort();
    }

    const usual = await withContext(db, ada, (tx) => pull(tx, { appId: "todo" }));
    expect(Object.keys(usual.changes[0]?.data ?? {}).toSorted()).toEqual(["__proto__", "constructor", "d", "n"]);
    const usualRecords = await withContext(db, ada, (tx) => snapshotRecords(tx, { appId: "todo" }));
    expect(Object.keys(usualRecords.records[0]?.field_meta ?? {})).toContain("__proto__");
  });

  it("reach spaces whatever they are called", async () => {
    const { db } = await open();
    const names = ["__proto__", "constructor", "toString"];
    const context = { userId: "ada", spaceIds: names, writableSpaceIds: names };
    const pushed = async (id: string) => {
      const changes = names.map((space_id) => ({ op: "insert" as const, table: "tasks", id, space_id }));
      await withContext(db, context, (tx) => push(tx, { appId: "todo", changes }));
    };
    await pushed("a");
    const seen: string[] = [];
    for await (const event of follow(db, { context, appId: "todo", pollMs: 60_000 })) {
      if (event.type === "changes") seen.push(...event.changes.map(({ space_id, id }) => `${space_id} ${id}`));
      if (seen.length === 3) await pushed("b");
      if (seen.length === 6) break;
    }
    expect(seen.toSorted()).toEqual(names.flatMap((name) => [`${name} a`, `${name} b`]).toSorted());
  });

  it("reject alone, in their place, changes that JSON or the database cannot hold", async () => {
    const { db } = await open();
    const good = (id: string): Change => ({ op: "insert", table: "tasks", id });
    const cyclic: Record<string, unknown> = {};
    cyclic.self = cyclic;
    const changes = [
      good("a"),
      { ...good("nul"), data: { text: "a\u0000b" }, op_id: "nul" },
      { ...good("half"), data: { text: "\ud83d" } },
      { ...good("cycle"), data: cyclic },
      { ...good("big"), data: { number: 10n } },
      { ...good("infinite"), base_seq: Number.POSITIVE_INFINITY },
      { ...good("unknown"), sequence: 1 } as Change,
      { ...good("op"), op: "upsert" } as unknown as Change,
      null as unknown as Change,
      { ...good("escaped"), data: { text: "a backslash \\u0000 is no NUL, and 😀 is whole" } },
      good("z"),
    ];
    const { results } = await withContext(db, { userId: "ada" }, (tx) => push(tx, { appId: "todo", changes }));
    expect(results.map(({ status, error }) => error?.code ?? status)).toEqual([
      "applied",
      ...Array(8).fill("PE422"),
      "applied",
      "applied",
    ]);
    expect(results[1]).toMatchObject({ op_id: "nul", status: "rejected", seq: null });
    expect(results.map(({ seq }) => seq).filter((seq) => seq !== null)).toEqual([1, 2, 3]);
    const { records } = await withContext(db, { userId: "ada" }, (tx) => snapshotRecords(tx, { appId: "todo" }));
    expect(records.map(({ id }) => id)).toEqual(["a", "escaped", "z"]);
  });

  it("page, and pass on what the database refuses", async () => {
    const { db } = await open();
    const changes = Array.from({ length: 25 }, (_, n): Change => ({ op: "insert", table: "tasks", id: `t${n}` }));
    const as = { userId: "ada" };
    await withContext(db, as, (tx) => push(tx, { appId: "todo", changes }));
    const seen: string[] = [];
    for (let cursor = {}, more = true; more; ) {
      const page = await withContext(db, as, (tx) => pull(tx, { appId: "todo", cursor, pageSize: 10 }));
      seen.push(...page.changes.map(({ id }) => id));
      cursor = page.cursor;
      more = page.has_more;
    }
    expect(seen).toEqual(changes.map(({ id }) => id));
    const records: string[] = [];
    for (let after: string | null = null, first = true; first || after !== null; first = false) {
      const page = await withContext(db, as, (tx) => snapshotRecords(tx, { appId: "todo", after, pageSize: 10 }));
      records.push(...page.records.map(({ id }) => id));
      after = page.next;
    }
    expect(records.sort()).toEqual([...seen].sort());
    const wrong = withContext(db, as, (tx) => pull(tx, { appId: "todo", cursor: { v: 99 } }));
    await expect(wrong).rejects.toMatchObject({ code: "PE422" });
    const elsewhere = withContext(db, as, (tx) => snapshotRecords(tx, { appId: "todo", spaceId: "elsewhere" }));
    await expect(elsewhere).rejects.toMatchObject({ code: "PE403" });
    await expect(db.transaction((tx) => push(tx, { appId: "todo", changes: [] }))).rejects.toMatchObject({
      code: "PE401",
    });
  });

  it("leave out one's own changes and other tables when asked to", async () => {
    const { db } = await open();
    const as = { userId: "ada" };
    const pushed = (clientId: string, table: string, id: string) =>
      withContext(db, as, (tx) => push(tx, { appId: "todo", clientId, changes: [{ op: "insert", table, id }] }));
    const pulled = async (cursor: object) => {
      const options = { appId: "todo", cursor: { ...cursor }, tables: ["tasks"], excludeClientId: "me" };
      const page = await withContext(db, as, (tx) => pull(tx, options));
      return { cursor: page.cursor, ids: page.changes.map(({ id }) => id) };
    };
    await pushed("me", "tasks", "old");
    const first = await pulled({});
    expect(first.ids).toEqual(["old"]);
    await pushed("me", "tasks", "mine");
    await pushed("you", "tasks", "yours");
    await pushed("you", "lists", "other");
    expect((await pulled(first.cursor)).ids).toEqual(["yours"]);
  });

  it("lift what is older to the version that the reader names", async () => {
    const { db } = await open();
    const as = { userId: "ada" };
    await withContext(db, as, (tx) =>
      push(tx, { appId: "todo", changes: [{ op: "insert", table: "tasks", id: "t1", data: { title: "A" } }] }),
    );
    await db.query(
      `create function public.titles_to_texts(change jsonb) returns jsonb language sql immutable as
       $$ select change || jsonb_build_object('data', jsonb_build_object('text', change -> 'data' -> 'title')) $$`,
    );
    await db.query(
      "select perch.register_upgrade(app_id => 'todo', table_name => 'tasks', from_version => 1, upgrade => 'public.titles_to_texts(jsonb)')",
    );
    await db.query("select perch.set_schema_version(app_id => 'todo', table_name => 'tasks', current_version => 2)");
    const options = { appId: "todo", schemaVersions: { tasks: 2 } };
    const page = await withContext(db, as, (tx) => pull(tx, options));
    expect(page.changes).toMatchObject([{ id: "t1", data: { text: "A" }, schema_version: 2 }]);
    const { records } = await withContext(db, as, (tx) => snapshotRecords(tx, { ...options, tables: ["tasks"] }));
    expect(records).toMatchObject([{ id: "t1", data: { text: "A" }, schema_version: 2 }]);
    const unknown = withContext(db, as, (tx) => pull(tx, { appId: "todo", schemaVersions: { tasks: 3 } }));
    await expect(unknown).rejects.toMatchObject({ code: "PE422" });
  });
});
