import { LoroDoc } from "loro-crdt";
import { describe, expect, it } from "vitest";
import { postgres } from "../../support/databases.js";
import {
  type Client,
  cleanup,
  connect,
  declare,
  eventually,
  freshId,
  keyOf,
  type Node,
  startNode,
  storedText,
} from "./support.js";

const open = postgres(18);

async function twoNodes() {
  const t = await open();
  await declare(t);
  const key = keyOf(freshId());
  const [one, two] = [await startNode(t), await startNode(t)];
  return { t, key, one, two };
}

/** Notifies as a worker would: every notification of the channel, to every node. */
async function connectNotifyBatcher(nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) {
    const subscription = await node.db.listen(["perch_documents"], {
      notify: (_channel, payload) => {
        const notification = JSON.parse(payload) as {
          space_id: string;
          app_id: string;
          table: string;
          id: string;
          seq: number;
        };
        node.live.notified(
          {
            spaceId: notification.space_id,
            appId: notification.app_id,
            tableName: notification.table,
            recordId: notification.id,
          },
          notification.seq,
        );
      },
      ready: () => undefined,
    });
    cleanup(() => subscription.close());
  }
}

/** Statements that read what was appended. */
const reads = (counted: Record<string, number>) => (counted.missed_updates ?? 0) + (counted.open_document ?? 0);

describe("a document open on several nodes", () => {
  it("gives the other node's updates to readers before its own later ones, in commit order", async () => {
    const { key, one, two } = await twoNodes();
    const [ada, bob] = [await connect(one, key), await connect(two, key)];
    await ada.type("1");
    await ada.type("2");
    // No notification has come: the append itself is told what it missed.
    await bob.type("3");
    expect(bob.heard.map(({ seq }) => seq)).toEqual([2, 3]);
    expect(bob.heard[0]?.updates).toHaveLength(2);
    expect(bob.document.position).toBe(3);
    await ada.document.refresh();
    expect(ada.heard.map(({ seq }) => seq)).toEqual([1, 2, 3]);
    expect(ada.text()).toBe(bob.text());
  });

  it("reads nothing for a notification whose news it has, its own above all", async () => {
    const { key, one, two } = await twoNodes();
    const [ada, bob] = [await connect(one, key), await connect(two, key)];
    await connectNotifyBatcher([one, two]);
    one.db.counted();
    two.db.counted();
    for (let letter = 0; letter < 30; letter++) await ada.type("x");
    await eventually(() => bob.text().length === 30);
    expect(reads(one.db.counted())).toBe(0);
    const two30 = two.db.counted();
    expect(reads(two30)).toBeGreaterThan(0);
    expect(reads(two30)).toBeLessThanOrEqual(30);
    // A second notification of the same, and one that came late.
    two.live.notified(key, 30);
    two.live.notified(key, 12);
    await bob.type("y");
    expect(reads(two.db.counted())).toBe(0);
  });

  it("does not forget a notification that comes while it reads", async () => {
    const { key, one, two } = await twoNodes();
    const [ada, bob] = [await connect(one, key), await connect(two, key)];
    await ada.type("1");
    const held = two.db.hold(/perch\.missed_updates/, "after");
    two.live.notified(key, 1);
    await held;
    // The answer that is on its way does not have it yet.
    await ada.type("2");
    two.live.notified(key, 2);
    two.db.go();
    await eventually(() => bob.text() === "12");
    // And while an append is under way, whose answer does not have it either.
    const storing = two.db.hold(/append_updates/, "after");
    const typing = bob.type("3");
    await storing;
    await ada.type("4", 0);
    two.live.notified(key, 4);
    two.db.go();
    await typing;
    await eventually(() => bob.text() === "4123");
  });

  it("answers a join with what it was notified of before, while it was opening the document or nobody read it", async () => {
    const { key, one, two } = await twoNodes();
    const ada = await connect(one, key);
    await ada.type("1");
    const held = two.db.hold(/open_document/, "after");
    const opening = two.live.open(key);
    await held;
    await ada.type("2");
    two.live.notified(key, 2);
    two.db.go();
    const document = await opening;
    cleanup(() => document.release());
    const reader = await connect(two, key);
    expect(reader.text()).toBe("12");
    reader.leave();
    await ada.type("3");
    two.live.notified(key, 3);
    expect((await connect(two, key)).text()).toBe("123");
    // Once it has looked it does not look again.
    two.db.counted();
    await connect(two, key);
    expect(reads(two.db.counted())).toBe(0);
  });

  it("looks once for what a notification made up, and answers a join with what true ones tell of behind it", async () => {
    const { key, one, two } = await twoNodes();
    const ada = await connect(one, key);
    await ada.type("1");
    const document = await two.live.open(key);
    cleanup(() => document.release());
    const look = async () => {
      two.db.counted();
      const reader = await connect(two, key);
      reader.leave();
      return { text: reader.text(), reads: reads(two.db.counted()) };
    };
    expect(await look()).toEqual({ text: "1", reads: 0 });
    two.live.notified(key, 1_000_000_000_000_000);
    expect(await look()).toEqual({ text: "1", reads: 1 });
    expect(await look()).toEqual({ text: "1", reads: 0 });
    await ada.type("2");
    two.live.notified(key, 2);
    expect(await look()).toEqual({ text: "12", reads: 1 });
  });

  it("says of notifications that the tail does not explain that something may be pending", async () => {
    const { t, key, one } = await twoNodes();
    const reader = await connect(one, key);
    await reader.type("a");
    const unexplained: string[] = [];
    one.live.onUnexplained((found) => unexplained.push(found.recordId));
    await connectNotifyBatcher([one]);
    await reader.type("b");
    await t.asUser("ada", (tx) =>
      tx.query("select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1, patch => $2)", [
        key.recordId,
        JSON.stringify({ title: "t" }),
      ]),
    );
    await eventually(() => unexplained.length > 0);
    expect(unexplained).toEqual([key.recordId]);
    const elsewhere = keyOf(freshId());
    one.live.notified(elsewhere, 1);
    expect(unexplained).toEqual([key.recordId, elsewhere.recordId]);
  });

  it("takes an update that builds on what its author was told by another node", async () => {
    const { key, one, two } = await twoNodes();
    const ada = await connect(one, key);
    const stale = await connect(two, key);
    await ada.type("told by one");
    // The same client, now at node two, which has not heard of it.
    const from = ada.doc.oplogVersion();
    ada.doc.getText("body").insert(11, ", sent to two");
    ada.doc.commit();
    const update = ada.doc.export({ mode: "update", from });
    await stale.document.append([update], { userId: "ada" }, undefined);
    expect(stale.text()).toBe("told by one, sent to two");
    expect(await storedText(two.db, key)).toBe("told by one, sent to two");
  });

  it("converges when both nodes write at once, with every notification and with none", async () => {
    for (const notified of [true, false]) {
      const { key, one, two } = await twoNodes();
      if (notified) await connectNotifyBatcher([one, two]);
      const clients: Client[] = [
        await connect(one, key),
        await connect(one, key),
        await connect(two, key),
        await connect(two, key),
      ];
      await Promise.all(
        clients.map(async (client, index) => {
          for (let letter = 0; letter < 25; letter++) await client.type(String(index), (letter * 5) % 11);
        }),
      );
      await Promise.all([one.live.refreshAll(), two.live.refreshAll()]);
      const stored = await storedText(one.db, key);
      expect(stored).toHaveLength(100);
      for (const client of clients) {
        expect(client.text()).toBe(stored);
        const seqs = client.heard.map(({ seq }) => seq);
        expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
        expect(client.heard.reduce((sum, { updates }) => sum + updates.length, 0)).toBe(100);
      }
      expect((await connect(two, key)).text()).toBe(stored);
    }
  });

  it("refreshes all that have readers in one statement, and an idle one costs no row", async () => {
    const { one, two } = await twoNodes();
    const keys = Array.from({ length: 20 }, () => keyOf(freshId()));
    const readers = await Promise.all(keys.map((key) => connect(two, key)));
    const writers = await Promise.all(keys.slice(0, 3).map((key) => connect(one, key)));
    await Promise.all(writers.map((writer) => writer.type("new")));
    // Those whose copy is being loaded just now would be asked for behind that.
    await eventually(() => two.live.stats().warm === keys.length);
    two.db.counted();
    await two.live.refreshAll();
    expect(reads(two.db.counted())).toBe(1);
    expect(readers.map((reader) => reader.text())).toEqual([...Array(3).fill("new"), ...Array(17).fill("")]);
  });

  it("has a reader who is behind the retained tail join again, who then has everything", async () => {
    const { t, key, one, two } = await twoNodes();
    const [writer, reader] = [await connect(one, key), await connect(two, key)];
    await writer.type("a");
    await reader.document.refresh();
    const fold = async () => {
      const { snapshot, seq } = await writer.document.snapshot();
      await t.asWorker((tx) =>
        tx.query(
          "select perch.fold_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, snapshot => $5, seq => $6)",
          [key.spaceId, key.appId, key.tableName, key.recordId, snapshot, seq],
        ),
      );
    };
    await writer.type("b");
    await fold();
    await writer.type("c");
    await fold();
    await writer.type("d");
    const [row] = await t.db.query("select tail_from, snapshot_seq from perch.documents where record_id = $1", [
      key.recordId,
    ]);
    expect(row).toEqual({ tail_from: 2, snapshot_seq: 3 });
    // Whether what this is written on is still there cannot be told any more.
    await expect(reader.type("e", 0)).rejects.toMatchObject({ code: "PE410" });
    expect(reader.ended()).toBe(true);
    const again = await connect(two, key, undefined, reader.doc);
    expect(again.text()).toBe("eabcd");
    await writer.document.refresh();
    expect(writer.text()).toBe("eabcd");
    expect(await storedText(one.db, key)).toBe("eabcd");
  });

  it("ends for its readers when it is deleted, refuses what was written to the old incarnation, and begins empty", async () => {
    const { t, key, one, two } = await twoNodes();
    const [writer, reader] = [await connect(one, key), await connect(two, key)];
    await writer.type("old");
    await reader.document.refresh();
    await t.asUser("ada", (tx) =>
      tx.query("select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => $1)", [
        key.recordId,
      ]),
    );
    // One hears of it by writing, the other by its notification.
    await expect(writer.type("!")).rejects.toMatchObject({ code: "PE410" });
    await reader.document.refresh();
    expect([writer.ended(), reader.ended()]).toEqual([true, true]);
    const [again, other] = [await connect(one, key), await connect(two, key)];
    expect([again.text(), other.text()]).toEqual(["", ""]);
    await again.type("new");
    await other.document.refresh();
    expect(other.text()).toBe("new");
    expect(reader.text()).toBe("old");
    expect(await storedText(one.db, key)).toBe("new");
  });

  it("ends also when it was deleted and made again behind the back of a node", async () => {
    const { t, key, one, two } = await twoNodes();
    const [writer, reader] = [await connect(one, key), await connect(two, key)];
    await writer.type("old");
    await reader.document.refresh();
    await t.asUser("ada", (tx) =>
      tx.query("select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => $1)", [
        key.recordId,
      ]),
    );
    await one.live.refreshAll();
    const again = await connect(one, key);
    for (const letter of "new life") await again.type(letter);
    await two.live.refreshAll();
    expect(reader.ended()).toBe(true);
    expect(reader.text()).toBe("old");
    expect((await connect(two, key)).text()).toBe("new life");
  });

  it("sees fields that were declared after it was opened", async () => {
    const { t, key, one } = await twoNodes();
    const client = await connect(one, key);
    await client.type("a");
    await declare(t, { title: "string", body: "text", notes: "text" });
    const doc = new LoroDoc();
    doc.getText("notes").insert(0, "later");
    doc.commit();
    await client.document.append([doc.export({ mode: "update" })], { userId: "ada" }, undefined);
    const projected = (await client.document.project()).data;
    expect(projected).toEqual({ title: null, body: "a", notes: "later" });
  });
});
