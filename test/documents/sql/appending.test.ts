import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, describeEachPostgres, type TestDatabase } from "../../support/databases.js";
import { append, blob, declarePages, key, state } from "./support.js";

describeEachEngine("Appending decoded updates", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declarePages(t);
    await t.asUser("ada", async (tx) => {
      await tx.query("select perch.create_space('team')");
      await tx.query("select perch.set_space_member('team', 'eve', 'viewer')");
      await tx.query("select perch.set_space_member('team', 'bob', 'editor')");
    });
  });

  it("makes the document, gives positions in order and hands readers the tail", async () => {
    const placed = await t.asWorker((tx) =>
      append(tx, [
        {
          id: "a",
          after: 0,
          updates: [
            { content: "one", user: "ada" },
            { content: "two", user: "ada" },
          ],
        },
      ]),
    );
    expect(placed.map((row) => [row.kind, row.ordinal, row.seq])).toEqual([
      ["appended", 1, 1],
      ["appended", 2, 2],
    ]);
    expect(await t.asUser("ada", (tx) => state(tx, "a"))).toEqual({ snapshot: null, updates: ["one", "two"], head: 2 });
    expect(await t.asUser("ada", (tx) => state(tx, "a", 1))).toEqual({ snapshot: null, updates: ["two"], head: 2 });
  });

  it("tells each document's writer what others appended since its position", async () => {
    await t.asWorker((tx) => append(tx, [{ id: "b", after: 0, updates: [{ content: "one", user: "ada" }] }]));
    await t.asWorker((tx) => append(tx, [{ id: "c", after: 0, updates: [{ content: "uno", user: "ada" }] }]));
    const rows = await t.asWorker((tx) =>
      append(tx, [
        { id: "c", after: 0, updates: [{ content: "dos", user: "ada" }] },
        { id: "b", after: 0, updates: [{ content: "two", user: "ada" }] },
        { id: "new", after: 0, updates: [{ content: "first", user: "ada" }] },
      ]),
    );
    expect(rows).toEqual([
      { kind: "missed", ordinal: 1, seq: 1, error: null, content: "uno" },
      { kind: "missed", ordinal: 2, seq: 1, error: null, content: "one" },
      { kind: "appended", ordinal: 1, seq: 2, error: null, content: null },
      { kind: "appended", ordinal: 2, seq: 2, error: null, content: null },
      { kind: "appended", ordinal: 3, seq: 1, error: null, content: null },
    ]);
  });

  it("refuses an update whose author may not write there, and gives back what came behind it in the document", async () => {
    const sent = [
      { content: "viewer", user: "eve" },
      { content: "editor", user: "bob" },
      { content: "stranger", user: "mallory" },
      { content: "nobody", user: "" },
      { content: "token allows", user: "mallory", writable: true },
      { content: "token forbids", user: "bob", writable: false },
    ];
    const each = async (updates: typeof sent) => {
      const rows = await t.asWorker((tx) =>
        append(tx, [
          { space: "team", id: "d", after: 0, updates },
          { id: "d", after: 0, updates: [{ content: "not the owner of a personal space", user: "bob" }] },
        ]),
      );
      return rows.filter((row) => row.kind === "appended").map((row) => row.error ?? row.seq);
    };
    expect(await each(sent)).toEqual(["PE403", null, null, null, null, null, "PE403"]);
    expect(await each(sent.slice(1))).toEqual([1, "PE403", null, null, null, "PE403"]);
    expect(await each(sent.slice(3))).toEqual(["PE401", null, null, "PE403"]);
    expect(await each(sent.slice(4))).toEqual([2, "PE403", "PE403"]);
    expect(await t.asUser("bob", (tx) => state(tx, "d", 0, "team"))).toEqual({
      snapshot: null,
      updates: ["editor", "token allows"],
      head: 2,
    });
    // A refused first write leaves no document behind.
    expect(await t.db.query("select 1 from perch.documents where space_id = '~ada' and record_id = 'd'")).toEqual([]);
  });

  it("refuses a writer who has the incarnation before a deletion open", async () => {
    const appendTo = (after: number, content: string) =>
      t.asWorker((tx) => append(tx, [{ id: "e", after, updates: [{ content, user: "ada" }] }]));
    await appendTo(0, "old");
    await t.asUser("ada", (tx) => tx.query("select perch.delete_document('notes', 'pages', 'e')"));
    expect((await appendTo(1, "late"))[0]?.error).toBe("PE410");
    expect((await appendTo(0, "never saw the old life, nor its end"))[0]?.error).toBe("PE410");

    const reopened = await t.asUser("ada", (tx) => state(tx, "e"));
    expect(reopened).toEqual({ snapshot: null, updates: [], head: 2 });
    expect((await appendTo(reopened.head, "new"))[0]?.seq).toBe(3);
    expect((await appendTo(1, "late again"))[0]?.error).toBe("PE410");
    expect(await t.asUser("ada", (tx) => state(tx, "e", 1))).toEqual({ snapshot: null, updates: ["new"], head: 3 });
  });

  it("queues a document for projection once, until it has been projected", async () => {
    const queued = () => t.db.query("select record_id from perch.document_queue where record_id = 'f'");
    await t.asWorker((tx) => append(tx, [{ id: "f", after: 0, updates: [{ content: "one", user: "ada" }] }]));
    await t.asWorker((tx) => append(tx, [{ id: "f", after: 1, updates: [{ content: "two", user: "ada" }] }]));
    expect(await queued()).toHaveLength(1);
    const project = (seq: number) =>
      t.asWorker((tx) =>
        tx.query('select * from perch.project_document($1, $2, $3, $4, $5, \'{"title": "x"}\', 14)', [
          ...key("f"),
          seq,
        ]),
      );
    await project(1);
    expect(await queued()).toHaveLength(1);
    await project(2);
    expect(await queued()).toEqual([]);
  });

  it("takes nothing from a writer who is too far behind to tell whether it has what it builds on", async () => {
    for (let after = 0; after < 6; after++) {
      await t.asWorker((tx) =>
        append(tx, [{ id: "g", after, updates: [{ content: String(after + 1), user: "ada" }] }]),
      );
    }
    for (const seq of [2, 4]) {
      await t.asWorker((tx) =>
        tx.query("select perch.fold_document($1, $2, $3, $4, $5, $6)", [...key("g"), blob(`up to ${seq}`), seq]),
      );
    }
    const rows = await t.asWorker((tx) =>
      append(tx, [{ id: "g", after: 1, updates: [{ content: "7", user: "ada" }] }]),
    );
    expect(rows.map((row) => [row.kind, row.seq, row.error])).toEqual([["appended", null, "PE410"]]);
  });
});

describeEachPostgres("Appending decoded updates from several connections", (open) => {
  it("creates a document at once from many, in one order for all, with no position lost or given twice", async () => {
    const t = await open();
    await declarePages(t);
    const writers = await Promise.all(Array.from({ length: 8 }, () => t.login("perch_worker")));
    const ids = ["p", "q", "r", "s"];
    // Every writer names the documents in another order: locks are taken in the order of the keys, so nobody deadlocks.
    await Promise.all(
      writers.map(async (writer, w) => {
        for (let round = 0; round < 15; round++) {
          const order = ids.map((_, i) => ids[(i + w + round) % ids.length] as string);
          await append(
            writer,
            order.map((id) => ({ id, after: 0, updates: [{ content: `${w}.${round}`, user: "ada" }] })),
          );
        }
      }),
    );
    for (const id of ids) {
      const { updates, head } = await t.asUser("ada", (tx) => state(tx, id));
      expect(head).toBe(8 * 15);
      expect(new Set(updates).size).toBe(8 * 15);
    }
  });

  it("lets no reader see a position before every earlier one is committed", async () => {
    const t = await open();
    await declarePages(t);
    const writers = await Promise.all(Array.from({ length: 6 }, () => t.login("perch_worker")));
    let writing = true;
    const seen: string[] = [];
    const reader = (async () => {
      for (let after = 0; ; ) {
        const stop = !writing;
        const { updates, head } = await t.asUser("ada", (tx) => state(tx, "x", after));
        expect(updates).toHaveLength(head - after);
        seen.push(...updates);
        after = head;
        if (stop) return;
      }
    })();
    const kept: string[] = [];
    await Promise.all(
      writers.map(async (writer, w) => {
        for (let round = 0; round < 20; round++) {
          const rollBack = (w + round) % 10 === 0;
          await writer
            .transaction(async (tx) => {
              await append(tx, [{ id: "x", after: 0, updates: [{ content: `${w}.${round}`, user: "ada" }] }]);
              await new Promise((done) => setTimeout(done, (w * 7 + round * 3) % 11));
              if (rollBack) throw new Error("rolled back");
            })
            .then(
              () => kept.push(`${w}.${round}`),
              (error: Error) => expect(error.message).toBe("rolled back"),
            );
        }
      }),
    );
    writing = false;
    await reader;
    expect(seen.toSorted()).toEqual(kept.toSorted());
  });
});
