import { LoroDoc } from "loro-crdt";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Transaction } from "../../../src/database/types.js";
import type { DocumentKey } from "../../../src/documents/key.js";
import { createLiveDocuments } from "../../../src/documents/live.js";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { readLiveDocument } from "../../../src/documents/reading.js";
import { DocumentStore } from "../../../src/documents/store/store.js";
import { withContext } from "../../../src/identity/index.js";
import { describeEachEngine, type TestDatabase } from "../../support/databases.js";
import { seededRandom } from "../../support/traces.js";
import { everyKind } from "../loro/support/client.js";
import { newClient, randomCommit } from "../loro/support/edits.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());

const page = (recordId: string) => ({ appId: "notes", tableName: "pages", recordId, spaceId: "team" });

describeEachEngine("A document's past", (open) => {
  let t: TestDatabase;
  const store = new DocumentStore({ engine });
  const as = <T>(userId: string, work: (tx: Transaction) => Promise<T>) => withContext(t.db, { userId }, work);
  const asAda = <T>(work: (tx: Transaction) => Promise<T>) => as("ada", work);

  beforeAll(async () => {
    t = await open();
    await t.db.query("select perch.declare_table('notes', 'pages', $1::jsonb)", [JSON.stringify(everyKind)]);
    await asAda(async (tx) => {
      await tx.query("select perch.create_space('team')");
      await tx.query("select perch.set_space_member('team', 'bob', 'editor')");
      await tx.query("select perch.set_space_member('team', 'vera', 'viewer')");
    });
  });

  /** What a worker does when the tail has grown: the updates behind the snapshot before this one are forgotten. */
  async function fold(recordId: string): Promise<void> {
    const { snapshot, seq } = await asAda((tx) => store.snapshot(tx, page(recordId)));
    const key = ["team", "notes", "pages", recordId];
    await t.asWorker((tx) => tx.query("select perch.fold_document($1, $2, $3, $4, $5, $6)", [...key, snapshot, seq]));
  }

  it("names who wrote what when, shows it as it was, and comes back as a new edit", async () => {
    await asAda((tx) => store.applyPatch(tx, page("a"), { title: "Plan", body: "one" }, { clientId: "phone" }));
    const { data } = await as("bob", (tx) => store.applyPatch(tx, page("a"), { body: "one two", likes: 3 }));
    await asAda((tx) => store.applyPatch(tx, page("a"), { title: null, body: "", likes: -1 }));
    expect(await as("vera", (tx) => store.versions(tx, page("a")))).toMatchObject([
      { seq: 3, firstSeq: 3, userId: "ada", clientId: null, updates: 1 },
      { seq: 2, firstSeq: 2, userId: "bob", clientId: null, updates: 1, lastAt: expect.any(Date) },
      { seq: 1, firstSeq: 1, userId: "ada", clientId: "phone", updates: 1 },
    ]);
    expect(await asAda((tx) => store.versions(tx, page("a"), { before: 3, maxCount: 1 }))).toMatchObject([{ seq: 2 }]);
    expect(await as("vera", (tx) => store.at(tx, page("a"), 2))).toEqual(data);
    expect(await asAda((tx) => store.at(tx, page("a"), 0))).toMatchObject({ title: null, body: null });

    const back = await as("bob", (tx) => store.revert(tx, page("a"), 2));
    expect(back).toEqual({ recordId: "a", seq: 4, revision: expect.any(Number), data });
    const [record] = await asAda((tx) => tx.query("select data from perch.records where record_id = 'a'"));
    expect(record).toEqual({ data });
    expect(await asAda((tx) => store.versions(tx, page("a"), { maxCount: 1 }))).toMatchObject([
      { seq: 4, userId: "bob" },
    ]);
    // There is nothing to set back any more.
    expect(await asAda((tx) => store.revert(tx, page("a"), 4))).toMatchObject({ seq: 4, data });
  });

  it("is brought back around what others write at the same time", async () => {
    await asAda((tx) => store.applyPatch(tx, page("b"), { body: "one two three" }));
    const client = new LoroDoc();
    client.import((await asAda((tx) => store.snapshot(tx, page("b")))).snapshot);
    await asAda((tx) => store.applyPatch(tx, page("b"), { body: "one" }));
    client.getText("body").insert(0, "zero ");
    client.commit();
    await asAda((tx) => store.revert(tx, page("b"), 1));
    const update = client.export({ mode: "update" });
    expect((await as("bob", (tx) => store.applyUpdate(tx, page("b"), update))).data).toMatchObject({
      body: "zero one two three",
    });
  });

  it("is left alone by a transaction that rolls back", async () => {
    await asAda((tx) => store.applyPatch(tx, page("c"), { body: "first" }));
    const { data } = await asAda((tx) => store.applyPatch(tx, page("c"), { body: "second" }));
    await expect(
      asAda(async (tx) => {
        expect(await store.revert(tx, page("c"), 1)).toMatchObject({ seq: 3, data: { body: "first" } });
        expect(await store.at(tx, page("c"), 3)).toMatchObject({ body: "first" });
        throw new Error("changed my mind");
      }),
    ).rejects.toThrow("changed my mind");
    expect(await asAda((tx) => store.at(tx, page("c"), 2))).toEqual(data);
    await expect(asAda((tx) => store.at(tx, page("c"), 3))).rejects.toMatchObject({ code: "PE404" });
  });

  it("has only the positions it came to, of this incarnation, that folding has not drawn together", async () => {
    for (const body of ["1", "12", "123", "1234"]) await asAda((tx) => store.applyPatch(tx, page("d"), { body }));
    await fold("d");
    expect(await asAda((tx) => store.at(tx, page("d"), 2))).toMatchObject({ body: "12" });
    await asAda((tx) => store.applyPatch(tx, page("d"), { body: "12345" }));
    await fold("d");
    const forgotten = { code: "PE410", detail: { seq: 2, earlier_seq: 0, later_seq: 4 } };
    await expect(asAda((tx) => store.at(tx, page("d"), 2))).rejects.toMatchObject(forgotten);
    await expect(asAda((tx) => store.revert(tx, page("d"), 2))).rejects.toMatchObject(forgotten);
    expect(await asAda((tx) => store.at(tx, page("d"), 4))).toMatchObject({ body: "1234" });
    expect(await asAda((tx) => store.at(tx, page("d"), 5))).toMatchObject({ body: "12345" });
    for (const seq of [6, -1]) {
      await expect(asAda((tx) => store.at(tx, page("d"), seq))).rejects.toMatchObject({ code: "PE404" });
      await expect(asAda((tx) => store.revert(tx, page("d"), seq))).rejects.toMatchObject({ code: "PE404" });
    }
    await expect(asAda((tx) => store.at(tx, page("d"), 1.5))).rejects.toMatchObject({ code: "PE422" });
    await expect(asAda((tx) => store.at(tx, page("nowhere"), 1))).rejects.toMatchObject({ code: "PE404" });

    await asAda((tx) => store.delete(tx, page("d")));
    expect(await asAda((tx) => store.versions(tx, page("d")))).toEqual([]);
    const { seq } = await asAda((tx) => store.applyPatch(tx, page("d"), { body: "again" }));
    expect(seq).toBe(7);
    await expect(asAda((tx) => store.at(tx, page("d"), 5))).rejects.toMatchObject({ code: "PE410" });
    expect(await asAda((tx) => store.at(tx, page("d"), 6))).toMatchObject({ body: null });
    expect(await asAda((tx) => store.at(tx, page("d"), 7))).toMatchObject({ body: "again" });
  });

  it("is for those who may read, or write, the space", async () => {
    await asAda((tx) => store.applyPatch(tx, page("e"), { title: "x" }));
    await expect(as("vera", (tx) => store.revert(tx, page("e"), 1))).rejects.toMatchObject({ code: "PE403" });
    const reads: ((tx: Transaction) => Promise<unknown>)[] = [
      (tx) => store.at(tx, page("e"), 1),
      (tx) => store.versions(tx, page("e")),
    ];
    for (const read of reads) {
      await expect(as("eve", read)).rejects.toMatchObject({ code: "PE403" });
      await expect(t.db.transaction(read)).rejects.toMatchObject({ code: "PE401" });
    }
  });

  it("by property: at every position it is what was projected when that was written, folded or not", async () => {
    for (let seed = 1; seed <= 3; seed++) {
      const random = seededRandom(seed);
      const address = page(`property ${seed}`);
      const clients = [newClient(), newClient()];
      const seen = new Map<number, unknown>();
      for (let step = 0; step < 14; step++) {
        const client = clients[step % 2] as LoroDoc;
        // One of them knows the other's edits most of the time, the other seldom.
        if (random() < (step % 2 ? 0.2 : 0.7) && seen.size > 0)
          client.import((await asAda((tx) => store.snapshot(tx, address))).snapshot);
        for (let count = 0; count < 3; count++) randomCommit(client, random);
        const update = client.export({ mode: "update" });
        const written = await as(step % 2 ? "bob" : "ada", (tx) =>
          random() < 0.25 && seen.size > 0
            ? store.applyPatch(tx, address, { title: `step ${step}`, tags: [step], body: `step ${step}` })
            : store.applyUpdate(tx, address, update),
        );
        seen.set(written.seq, written.data);
        if (random() < 0.2) await fold(address.recordId);
      }
      const known = new Set((await asAda((tx) => store.versions(tx, address))).map(({ seq }) => seq));
      for (const [seq, data] of seen) {
        const past = await asAda((tx) => store.at(tx, address, seq)).catch((error: { code: string }) => error.code);
        expect(past).toEqual(known.has(seq) ? data : expect.toSatisfy((other) => other === "PE410"));
      }
      for (const seq of [...known].slice(0, 4)) {
        const { data } = await asAda((tx) => store.revert(tx, address, seq));
        expect(data).toEqual(seen.get(seq));
      }
    }
  });

  it("is read from the live documents of a node, on behalf of whoever may read", async () => {
    const db = await t.login("perch_worker");
    const live = createLiveDocuments({ db, engine });
    const first = await asAda((tx) => store.applyPatch(tx, page("f"), { title: "one" }));
    const read = (seq?: number, userId = "vera") => readLiveDocument({ db, live }, { userId }, page("f"), seq);
    const revision = expect.any(Number);
    expect(await read()).toEqual({ seq: 1, revision, data: first.data });
    const second = await asAda((tx) => store.applyPatch(tx, page("f"), { title: "two" }));
    expect(await read(1)).toEqual({ seq: 1, revision, data: first.data });
    expect(await read(2)).toEqual({ seq: 2, revision, data: second.data });
    expect(await read()).toEqual({ seq: 2, revision, data: second.data });
    await expect(read(3)).rejects.toMatchObject({ code: "PE404" });
    await expect(read(1, "eve")).rejects.toMatchObject({ code: "PE403" });
    await expect(read(1, "")).rejects.toMatchObject({ code: "PE401" });
    const key: DocumentKey = { ...page("f"), tableName: "elsewhere" };
    await expect(readLiveDocument({ db, live }, { userId: "ada" }, key)).rejects.toMatchObject({ code: "PE404" });
    await live.close();
  });
});
