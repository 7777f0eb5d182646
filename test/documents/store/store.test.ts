import { decodeImportBlobMeta, LoroDoc } from "loro-crdt";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../../src/database/types.js";
import { appendEntries } from "../../../src/documents/live/queries.js";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { DocumentStore, type HookEvent } from "../../../src/documents/store/store.js";
import { withContext } from "../../../src/identity/index.js";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../../support/databases.js";
import { pause, underWay, until } from "../../support/until.js";

const engine = createDocumentEngine();
afterAll(() => engine.close());

const fields = { title: "string", body: "text", stars: "integer", tags: "list" };
const page = (recordId: string) => ({ appId: "notes", tableName: "pages", recordId });

async function prepared(open: () => Promise<TestDatabase>): Promise<TestDatabase> {
  const t = await open();
  await t.db.query("select perch.declare_table('notes', 'pages', $1::jsonb)", [JSON.stringify(fields)]);
  return t;
}

const stored = (tx: Transaction, id: string) =>
  tx.query<{ data: unknown; seq: number }>("select data from perch.records where record_id = $1", [id]);

describeEachEngine("A DocumentStore", (open) => {
  let t: TestDatabase;
  const store = new DocumentStore({ engine });
  const asAda = <T>(work: (tx: Transaction) => Promise<T>) => withContext(t.db, { userId: "ada" }, work);
  beforeAll(async () => {
    t = await prepared(open);
  });

  it("writes tail, record and log entry together with what the caller writes", async () => {
    const written = await asAda(async (tx) => {
      const result = await store.applyPatch(tx, page("a"), { title: "Plan", body: "one" });
      await tx.query("select perch.push('notes', $1::jsonb, 'device')", [
        JSON.stringify([{ op: "insert", table: "tasks", id: "t1", data: { of: "a" } }]),
      ]);
      return result;
    });
    expect(written).toMatchObject({ recordId: "a", seq: 1, data: { title: "Plan", body: "one", stars: null } });
    await asAda(async (tx) => {
      expect(await stored(tx, "a")).toEqual([{ data: written.data }]);
      expect(
        await tx.query(
          "select op, record_id, changed_fields from perch.sync_changes where record_id in ('a', 't1') order by seq",
        ),
      ).toMatchObject([
        { op: "insert", record_id: "a", changed_fields: expect.arrayContaining(["body", "title"]) },
        { op: "insert", record_id: "t1" },
      ]);
    });
  });

  it("leaves nothing when the transaction rolls back, and shows what is committed", async () => {
    await asAda((tx) => store.applyPatch(tx, page("b"), { body: "kept" }));
    await expect(
      asAda(async (tx) => {
        const { data } = await store.applyPatch(tx, page("b"), { body: "kept and lost" });
        expect(data).toMatchObject({ body: "kept and lost" });
        throw new Error("changed my mind");
      }),
    ).rejects.toThrow("changed my mind");
    const after = await asAda((tx) => store.applyPatch(tx, page("b"), { title: "x" }));
    expect(after).toMatchObject({ seq: 2, data: { title: "x", body: "kept" } });
    const { snapshot } = await asAda((tx) => store.snapshot(tx, page("b")));
    expect(LoroDoc.fromSnapshot(snapshot).getText("body").toString()).toBe("kept");
  });

  it("goes back with a savepoint, and on from there", async () => {
    const written = await asAda(async (tx) => {
      await store.applyPatch(tx, page("c"), { body: "one" });
      await tx.query("savepoint before_two");
      await store.applyPatch(tx, page("c"), { body: "one two" });
      await tx.query("rollback to savepoint before_two");
      return store.applyPatch(tx, page("c"), { title: "x" });
    });
    expect(written).toMatchObject({ seq: 2, data: { title: "x", body: "one" } });
  });

  it("notices what others wrote", async () => {
    await asAda((tx) => store.applyPatch(tx, page("d"), { body: "ours" }));
    const other = new DocumentStore({ engine: createDocumentEngine() });
    await asAda((tx) => other.applyPatch(tx, page("d"), { title: "theirs" }));
    expect(await asAda((tx) => store.applyPatch(tx, page("d"), { stars: 3 }))).toMatchObject({
      seq: 3,
      data: { title: "theirs", body: "ours", stars: 3 },
    });
    await other.close();
  });

  it("merges an update of a Loro client, and hands out what a reader lacks", async () => {
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "from a client");
    doc.commit();
    const update = doc.export({ mode: "update" });
    const first = await asAda((tx) => store.applyUpdate(tx, page("e"), update));
    expect(first).toMatchObject({ seq: 1, data: { body: "from a client" } });
    expect(await asAda((tx) => store.applyUpdate(tx, page("e"), update))).toMatchObject({ seq: 1 });
    await asAda((tx) => store.applyPatch(tx, page("e"), { title: "and a patch" }));
    const { updates } = await asAda((tx) => store.updateSince(tx, page("e"), doc.version().encode()));
    doc.importBatch(updates);
    expect(doc.getMap("fields").get("title")).toBe("and a patch");
    expect(await asAda((tx) => store.updateSince(tx, page("e"), doc.version().encode()))).toMatchObject({
      updates: [],
    });
  });

  it("asks once whose a client's peer is, and again when that may have changed", async () => {
    let asked = 0;
    const as = <T>(userId: string, work: (tx: Transaction) => Promise<T>) =>
      withContext(t.db, { userId, spaceIds: ["desk"], writableSpaceIds: ["desk"] }, (tx) =>
        work({
          ...tx,
          query(sql, ...rest) {
            if (sql.includes("peer_authors")) asked++;
            return tx.query(sql, ...rest);
          },
        } as Transaction),
      );
    const doc = new LoroDoc();
    const typed = (letters: string) => {
      const from = doc.oplogVersion();
      doc.getText("body").push(letters);
      doc.commit();
      return doc.export({ mode: "update", from });
    };
    const desk = { ...page("owned"), spaceId: "desk" };
    const write = (userId: string, update: Uint8Array) => as(userId, (tx) => store.applyUpdate(tx, desk, update));

    for (const letters of ["a", "b", "c"]) await write("ada", typed(letters));
    expect(asked).toBe(1);
    const next = typed("d");
    await expect(write("bob", next)).rejects.toMatchObject({ code: "PE422" });
    expect(asked).toBe(2);
    await write("ada", next);

    // Whoever wrote in a transaction that was rolled back owns nothing by it.
    const fresh = new LoroDoc();
    fresh.getText("body").push("first");
    fresh.commit();
    const update = fresh.export({ mode: "update" });
    const rolledBack = as("ada", async (tx) => {
      await store.applyUpdate(tx, desk, update);
      throw new Error("changed my mind");
    });
    await expect(rolledBack).rejects.toThrow("changed my mind");
    await write("bob", update);
    const from = fresh.oplogVersion();
    fresh.getText("body").push(", and on");
    fresh.commit();
    await expect(write("ada", fresh.export({ mode: "update", from }))).rejects.toMatchObject({ code: "PE422" });
    await write("bob", fresh.export({ mode: "update", from }));
  });

  it("applies a patch at the position it was based on", async () => {
    const { seq } = await asAda((tx) => store.applyPatch(tx, page("f"), { body: "alpha omega" }));
    await asAda((tx) => store.applyPatch(tx, page("f"), { body: "alpha beta omega" }));
    const merged = await asAda((tx) => store.applyPatch(tx, page("f"), { body: "alpha omega!" }, { baseSeq: seq }));
    expect(merged.data).toMatchObject({ body: "alpha beta omega!" });
  });

  it("refuses a patch or update whole, and goes on unharmed", async () => {
    await asAda((tx) => store.applyPatch(tx, page("g"), { body: "good" }));
    await expect(asAda((tx) => store.applyPatch(tx, page("g"), { body: "bad", stars: "many" }))).rejects.toMatchObject({
      code: "PE422",
      detail: { field: "stars" },
    });
    await expect(
      asAda((tx) => store.applyUpdate(tx, page("g"), Buffer.from("loro, but not really a Loro update"))),
    ).rejects.toMatchObject({ code: "PE422" });
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "base");
    doc.commit();
    const base = doc.version();
    doc.getText("body").insert(4, " more");
    doc.commit();
    await expect(
      asAda((tx) => store.applyUpdate(tx, page("g"), doc.export({ mode: "update", from: base }))),
    ).rejects.toMatchObject({ code: "PE422" });
    expect(await asAda((tx) => store.applyPatch(tx, page("g"), { title: "on" }))).toMatchObject({
      seq: 2,
      data: { title: "on", body: "good" },
    });
  });

  it("makes an id for a new document, and tells hooks inside the transaction", async () => {
    const events: Pick<HookEvent, "op" | "data">[] = [];
    const hooked = new DocumentStore({
      engine,
      hooks: {
        before: (_, { op, data }) => void events.push({ op, data }),
        after: async (tx, { op, data, key }) => {
          events.push({ op, data });
          if (op === "insert") expect(await stored(tx, key.recordId)).toHaveLength(1);
          if ((data as { title?: unknown } | null)?.title === "forbidden") throw new Error("not that title");
        },
      },
    });
    const { recordId } = await asAda((tx) =>
      hooked.applyPatch(tx, { appId: "notes", tableName: "pages" }, { title: "new" }),
    );
    expect(recordId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    await asAda((tx) => hooked.applyPatch(tx, page(recordId), { stars: 5 }));
    await expect(asAda((tx) => hooked.applyPatch(tx, page(recordId), { title: "forbidden" }))).rejects.toThrow(
      "not that title",
    );
    await asAda((tx) => hooked.delete(tx, page(recordId)));
    await asAda((tx) => hooked.delete(tx, page(recordId)));
    const brief = events.map(({ op, data }) => [op, data && { title: data.title, stars: data.stars }]);
    expect(brief).toEqual([
      ["insert", null],
      ["insert", { title: "new", stars: null }],
      ["update", { title: "new", stars: null }],
      ["update", { title: "new", stars: 5 }],
      ["update", { title: "new", stars: 5 }],
      ["update", { title: "forbidden", stars: 5 }],
      ["delete", { title: "new", stars: 5 }],
      ["delete", null],
    ]);
    expect(await asAda((tx) => stored(tx, recordId))).toEqual([]);
  });

  it("keeps a bounded number of documents, and forgets those it is told to", async () => {
    const small = new DocumentStore({ engine, maxDocuments: 2 });
    for (const id of ["h", "i", "j"]) await asAda((tx) => small.applyPatch(tx, page(id), { title: id }));
    expect(small.cachedDocuments().map((key) => key.recordId)).toEqual(["i", "j"]);
    await small.evict({ ...page("i"), spaceId: "~ada" });
    expect(small.cachedDocuments().map((key) => key.recordId)).toEqual(["j"]);
    expect(await asAda((tx) => small.applyPatch(tx, page("h"), { stars: 1 }))).toMatchObject({
      data: { title: "h", stars: 1 },
    });
    await small.evict();
    expect(small.cachedDocuments()).toEqual([]);
  });

  it("is for those who may read, or write, the space, and for declared tables", async () => {
    const team = (recordId: string) => ({ ...page(recordId), spaceId: "team" });
    await asAda(async (tx) => {
      await tx.query("select perch.create_space('team')");
      await tx.query("select perch.set_space_member('team', 'eve', 'viewer')");
      await store.applyPatch(tx, team("k"), { title: "shared" });
    });
    const asEve = <T>(work: (tx: Transaction) => Promise<T>) => withContext(t.db, { userId: "eve" }, work);
    expect((await asEve((tx) => store.snapshot(tx, team("k")))).seq).toBe(1);
    await expect(asEve((tx) => store.applyPatch(tx, team("k"), { title: "x" }))).rejects.toMatchObject({
      code: "PE403",
    });
    await expect(asEve((tx) => store.snapshot(tx, { ...page("a"), spaceId: "~ada" }))).rejects.toMatchObject({
      code: "PE403",
    });
    await expect(asAda((tx) => store.snapshot(tx, { ...page("a"), tableName: "elsewhere" }))).rejects.toMatchObject({
      code: "PE404",
    });
    await expect(t.db.transaction((tx) => store.snapshot(tx, page("a")))).rejects.toMatchObject({ code: "PE401" });
    await expect(asAda((tx) => store.applyPatch(tx, page("x".repeat(300)), {}))).rejects.toMatchObject({
      code: "PE413",
    });
  });

  it("asks the database twice for a write, and once for a read", async () => {
    const count = (work: (tx: Transaction) => Promise<unknown>) =>
      asAda(async (tx) => {
        const asked: string[] = [];
        const query: Transaction["query"] = (sql, params) => {
          asked.push(/perch\.(\w+)/.exec(sql)?.[1] ?? sql);
          return tx.query(sql, params);
        };
        await work({ ...tx, query });
        return asked;
      });
    const twice = ["open_in_transaction", "write_document"];
    expect(await count((tx) => store.applyPatch(tx, page("o"), { title: "new" }))).toEqual(twice);
    expect(await count((tx) => store.applyPatch(tx, page("o"), { title: "newer", body: "x" }))).toEqual(twice);
    expect(await count((tx) => store.snapshot(tx, page("o")))).toEqual(["open_in_transaction"]);
    // What is in the record is all of it, though only what changed was sent.
    const [record] = await asAda((tx) => stored(tx, "o"));
    expect(record?.data).toEqual({ title: "newer", body: "x", stars: null, tags: null });
  });

  it("sends, and asks its engine for, what a patch names, however large the document is", async () => {
    const asked: string[] = [];
    const watched = new DocumentStore({
      engine: {
        ...engine,
        call: (id, method, ...rest) => {
          asked.push(method);
          return engine.call(id, method, ...rest);
        },
      },
    });
    const body = "A long text. ".repeat(60_000);
    await asAda((tx) => watched.applyPatch(tx, page("large"), { body, title: "one" }));
    expect(asked).toEqual(["load", "patch", "project"]);
    asked.length = 0;
    const sent: unknown[] = [];
    const written = await asAda((tx) =>
      watched.applyPatch(
        {
          ...tx,
          query: (sql, params) => {
            sent.push(...(params ?? []));
            return tx.query(sql, params);
          },
        },
        page("large"),
        { title: "two" },
      ),
    );
    expect(asked).toEqual(["patch"]);
    expect(JSON.stringify(sent).length).toBeLessThan(5_000);
    const whole = { title: "two", body, stars: null, tags: null };
    expect(written.data).toEqual(whole);

    // The same behind what others wrote: their updates are read, and nothing else of the document.
    await asAda((tx) => store.applyPatch(tx, page("large"), { stars: 1, tags: [{ a: [] }] }));
    asked.length = 0;
    const later = await asAda((tx) => watched.applyPatch(tx, page("large"), { title: "three" }));
    expect(asked).toEqual(["importChecked", "patch"]);
    expect(later.data).toEqual({ title: "three", body, stars: 1, tags: [{ a: [] }] });
    await asAda((tx) => store.applyPatch(tx, page("large"), { stars: null, tags: null }));
    expect((await asAda((tx) => watched.applyPatch(tx, page("large"), { title: "two" }))).data).toEqual(whole);
    expect(await asAda((tx) => stored(tx, "large"))).toEqual([{ data: whole }]);
    const [document] = await t.db.query<{ size: number }>(
      "select projection_bytes as size from perch.documents where record_id = 'large'",
    );
    expect(document?.size).toBe(Buffer.byteLength(JSON.stringify(whole)));
    await watched.evict();
  });

  it("hands out JSON that the caller may change", async () => {
    const first = await asAda((tx) => store.applyPatch(tx, page("p"), { tags: [{ a: 1 }] }));
    (first.data.tags as { a: number }[]).push({ a: 2 });
    expect((await asAda((tx) => store.applyPatch(tx, page("p"), { stars: 1 }))).data).toMatchObject({
      tags: [{ a: 1 }],
    });
  });

  it("stores the operations of a snapshot, not the state it claims", async () => {
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "from a snapshot");
    doc.commit();
    await asAda((tx) => store.applyUpdate(tx, page("q"), doc.export({ mode: "snapshot" })));
    const [update] = await t.db.query<{ payload: Uint8Array }>(
      "select payload from perch.document_updates where record_id = 'q'",
    );
    expect(decodeImportBlobMeta(update?.payload ?? new Uint8Array(), true).mode).toBe("update");
  });

  it("writes all fields where the record is behind what Loro clients wrote", async () => {
    const { seq, revision } = await asAda((tx) => store.applyPatch(tx, page("r"), { title: "one", body: "two" }));
    const doc = new LoroDoc();
    doc.getMap("fields").set("stars", 4);
    doc.commit();
    const update = doc.export({ mode: "update" });
    await t.asWorker((tx) =>
      appendEntries(
        tx,
        [
          {
            key: { ...page("r"), spaceId: "~ada" },
            after: { seq, revision },
            revision: 2,
            updates: [{ payload: update, ends: null, userId: "ada", writable: null, clientId: null }],
          },
        ],
        0,
      ),
    );
    const { data } = await asAda((tx) => store.applyPatch(tx, page("r"), { title: "three" }));
    expect(data).toEqual({ title: "three", body: "two", stars: 4, tags: null });
    expect((await asAda((tx) => stored(tx, "r")))[0]?.data).toEqual(data);
    expect(await t.db.query("select from perch.document_queue where record_id = 'r'")).toEqual([]);
  });

  it("leaves the transaction with the rights it had", async () => {
    await asAda(async (tx) => {
      await store.applyPatch(tx, page("l"), { title: "x" });
      await expect(store.applyPatch(tx, page("l"), { title: 3 })).rejects.toMatchObject({ code: "PE422" });
      expect(await tx.query("select current_user as name")).toEqual([{ name: "perch_app" }]);
    });
  });
});

describeEachPostgres("Several DocumentStores", (open) => {
  it("forgets no document while somebody works on it", async () => {
    const t = await prepared(open);
    let patched = (): void => undefined;
    let goOn: Promise<void> | undefined;
    const busy = new DocumentStore({
      engine: {
        ...engine,
        call: (id, method, ...rest) => {
          const result = engine.call(id, method, ...rest);
          if (method !== "patch" || goOn === undefined) return result;
          const held = goOn;
          return result.finally(() => {
            patched();
            return held;
          });
        },
      },
    });
    const asAda = <T>(work: (tx: Transaction) => Promise<T>) => withContext(t.db, { userId: "ada" }, work);
    await asAda((tx) => busy.applyPatch(tx, page("a"), { title: "one" }));
    await busy.evict();
    let release = (): void => undefined;
    const reached = new Promise<void>((resolve) => {
      patched = resolve;
    });
    goOn = new Promise((resolve) => {
      release = resolve;
    });
    const writing = underWay(asAda((tx) => busy.applyPatch(tx, page("a"), { title: "two" })));
    await reached;
    const forgetting = underWay(busy.evict());
    const reading = underWay(asAda((tx) => busy.snapshot(tx, page("a"))));
    // Whoever does not wait has it loaded by then.
    await Promise.race([Promise.all([forgetting, reading]), pause(500)]);
    goOn = undefined;
    release();
    expect((await writing).data).toMatchObject({ title: "two" });
    await Promise.all([forgetting, reading]);
    expect(await asAda((tx) => stored(tx, "a"))).toMatchObject([{ data: { title: "two" } }]);
    await busy.close();
  });

  it("both succeed when they make one document at once, and merge, also with writers in between", async () => {
    const t = await prepared(open);
    const stores = Array.from({ length: 4 }, () => new DocumentStore({ engine: createDocumentEngine() }));
    await Promise.all(
      stores.map(async (store, index) => {
        const db = await t.connect();
        for (let round = 0; round < 5; round++) {
          await withContext(db, { userId: "ada" }, async (tx) => {
            await store.applyPatch(tx, page("same"), {
              tags: [`${index}.${round}`],
              ...(index === 0 ? { stars: round } : {}),
            });
            await new Promise((done) => setTimeout(done, (index * 3 + round) % 7));
          });
        }
      }),
    );
    const results = await Promise.all(
      stores.map(async (store) => {
        const doc = await withContext(t.db, { userId: "ada" }, (tx) => store.snapshot(tx, page("same")));
        return JSON.stringify(LoroDoc.fromSnapshot(doc.snapshot).toJSON());
      }),
    );
    expect(new Set(results).size).toBe(1);
    expect(JSON.parse(results[0] ?? "")).toMatchObject({ fields: { stars: 4 } });
    const [record] = await withContext(t.db, { userId: "ada" }, (tx) => stored(tx, "same"));
    expect(record?.data).toMatchObject({ stars: 4, tags: JSON.parse(results[0] ?? "").tags });
    await Promise.all(stores.map((store) => store.close()));
  });

  it("show a transaction only what it sees: another's uncommitted edit is not there", async () => {
    const t = await prepared(open);
    const store = new DocumentStore({ engine: createDocumentEngine() });
    await withContext(t.db, { userId: "ada" }, (tx) => store.applyPatch(tx, page("m"), { body: "committed" }));
    const reader = await t.connect();
    await withContext(t.db, { userId: "ada" }, async (tx) => {
      await store.applyPatch(tx, page("m"), { body: "committed, and more" });
      const seen = await withContext(reader, { userId: "ada" }, (other) => store.snapshot(other, page("m")));
      expect(LoroDoc.fromSnapshot(seen.snapshot).getText("body").toString()).toBe("committed");
      const own = await store.snapshot(tx, page("m"));
      expect(LoroDoc.fromSnapshot(own.snapshot).getText("body").toString()).toBe("committed, and more");
    });
    const after = await withContext(reader, { userId: "ada" }, (tx) => store.snapshot(tx, page("m")));
    expect(LoroDoc.fromSnapshot(after.snapshot).getText("body").toString()).toBe("committed, and more");
    await store.close();
  });

  it("read a document whose writer waits for the reader's own transaction to end", async () => {
    const t = await prepared(open);
    const store = new DocumentStore({ engine });
    const other = await t.connect();
    const asAda = <T>(work: (tx: Transaction) => Promise<T>) => withContext(other, { userId: "ada" }, work);
    await asAda((tx) => store.applyPatch(tx, page("waited for"), { body: "committed" }));
    let writing: Promise<unknown> = Promise.resolve();
    await withContext(t.db, { userId: "ada" }, async (tx) => {
      // From here this transaction has the record of the document, which every writer of it takes.
      await tx.query("reset role");
      await tx.query("select from perch.stored_records where record_id = 'waited for' for update");
      await tx.query("set local role perch_app");
      writing = asAda((writer) => store.applyPatch(writer, page("waited for"), { body: "and more" }));
      await until(async () => {
        const waiting = await t.db.query(
          "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        return waiting.length === 1;
      });
      const { snapshot } = await store.snapshot(tx, page("waited for"));
      expect(LoroDoc.fromSnapshot(snapshot).getText("body").toString()).toBe("committed");
    });
    expect(await writing).toMatchObject({ seq: 2, data: { body: "and more" } });
    expect(await asAda((tx) => store.applyPatch(tx, page("waited for"), { title: "y" }))).toMatchObject({
      seq: 3,
      data: { title: "y", body: "and more" },
    });
  });

  it("merge with a Loro client who makes the document at the same time", async () => {
    const t = await prepared(open);
    const worker = await t.connect();
    const doc = new LoroDoc();
    doc.getText("body").insert(0, "typed");
    doc.commit();
    const payload = doc.export({ mode: "update" });
    const author = { userId: "ada", writable: null, clientId: null };
    const store = new DocumentStore({
      engine,
      hooks: {
        // The store has looked, and found nothing.
        before: async (_, { key }) =>
          void (await appendEntries(
            worker,
            [{ key, after: { seq: 0, revision: 0 }, revision: 1, updates: [{ payload, ends: null, ...author }] }],
            0,
          )),
      },
    });
    const written = await withContext(t.db, { userId: "ada" }, (tx) =>
      store.applyPatch(tx, page("made"), { title: "patched" }),
    );
    expect(written).toMatchObject({ seq: 2, data: { title: "patched", body: "typed" } });
    const [record] = await withContext(t.db, { userId: "ada" }, (tx) => stored(tx, "made"));
    expect(record?.data).toEqual(written.data);
  });

  it("are written by a login that may take the worker's role and has none of its rights otherwise", async () => {
    const t = await prepared(open);
    const store = new DocumentStore({ engine });
    const app = await t.login("perch_app");
    const [login] = await app.query<{ name: string; version: number }>(
      "select session_user::text as name, current_setting('server_version_num')::int as version",
    );
    const inherits = (login?.version ?? 0) >= 160_000;
    if (!inherits) await t.db.query(`alter role ${login?.name} noinherit`);
    await t.db.query(`grant perch_worker to ${login?.name} ${inherits ? "with inherit false" : ""}`);
    await withContext(app, { userId: "ada" }, (tx) => store.applyPatch(tx, page("taken"), { title: "x" }));
    const [record] = await withContext(app, { userId: "ada" }, (tx) => stored(tx, "taken"));
    expect(record?.data).toMatchObject({ title: "x" });
    // Without perch's help, too, a named stranger sees nothing of it.
    const seen = app.transaction(async (tx) => {
      if (!inherits) await tx.query("set local role perch_app");
      await tx.query("select perch.set_context(user_id => 'eve')");
      return tx.query("select from perch.records");
    });
    expect(await seen).toEqual([]);
    await expect(app.query("select perch.pending_documents()")).rejects.toMatchObject({ code: "42501" });
  });

  it("say what is missing to a login that is no worker", async () => {
    const t = await prepared(open);
    const store = new DocumentStore({ engine });
    const app = await t.login("perch_app");
    await expect(
      withContext(app, { userId: "ada" }, (tx) => store.applyPatch(tx, page("n"), { title: "x" })),
    ).rejects.toThrow("grant perch_app, perch_worker");
  });
});
