import { afterEach, beforeAll, describe, expect, it } from "vitest";
import type { LiveDocument } from "../../src/documents/live.js";
import { createRecorder, type Projection } from "../../src/worker/recorder.js";
import { cleanUp, connect, declare, eventually, freshId, keyOf, startNode } from "../documents/live/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { patchDocument, record, startWorkerNode } from "./support.js";

afterEach(cleanUp);

const open = postgres(18);

describe("records of many documents", () => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
  });

  const title = (document: LiveDocument, seq: number, text: string): Projection => {
    const json = JSON.stringify({ title: text, body: null });
    return { document, seq, json, size: json.length };
  };

  /** A node, and documents of a space with one edit each. */
  async function edited(count: number, spaceId = "~ada") {
    const node = await startNode(t);
    const clients = await Promise.all(
      Array.from({ length: count }, () => connect(node, keyOf(freshId(), spaceId), { userId: spaceId.slice(1) })),
    );
    await Promise.all(clients.map((client) => client.type("x")));
    return { node, documents: clients.map(({ document }) => document) };
  }

  it("are written in few transactions, one of a space at a time, and others beside it", async () => {
    const [mine, theirs] = [await edited(40), await edited(3, "~ben")];
    const recorder = createRecorder(mine.node.db, 4);
    mine.node.db.counted();
    const results = await Promise.all(
      [...mine.documents, ...theirs.documents].map((document) => recorder.record(title(document, 1, "together"))),
    );
    expect(results).toEqual(Array(43).fill({ tail: { count: 1, bytes: expect.any(Number) } }));
    expect(mine.node.db.counted().project_documents).toBeLessThan(30);
    for (const { key } of [...mine.documents, ...theirs.documents])
      expect(await record(t.db, key)).toMatchObject({ title: "together" });
    const log = await t.db.query<{ seq: number }>(
      "select seq from perch.sync_changes where space_id = '~ada' order by seq",
    );
    expect(log.map(({ seq }) => seq)).toEqual(log.map((_, index) => index + 1));
  });

  it("that cannot be written, or are of a deleted document, keep no others from being written", async () => {
    const { node, documents } = await edited(5);
    const [bad, gone, ...good] = documents as [LiveDocument, LiveDocument, ...LiveDocument[]];
    await t.asUser("ada", (tx) =>
      tx.query("select perch.delete_document($1, $2, $3)", [gone.key.appId, gone.key.tableName, gone.key.recordId]),
    );
    const recorder = createRecorder(node.db, 4);
    const attempts = [
      recorder.record({ ...title(bad, 1, "bad"), json: "{" }),
      recorder.record(title(gone, 1, "gone")),
      ...good.map((document) => recorder.record(title(document, 1, "good"))),
    ];
    const [first, second, ...others] = await Promise.allSettled(attempts);
    expect(first).toMatchObject({ status: "rejected", reason: { code: "22P02" } });
    expect(second).toEqual({ status: "fulfilled", value: undefined });
    expect(others.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
    for (const { key } of good) expect(await record(t.db, key)).toMatchObject({ title: "good" });
  });

  it("are written beside appends, patches and deletions of the same documents, without a deadlock", async () => {
    const node = await startWorkerNode(t, { settings: { projectionMs: 5 } });
    const keys = Array.from({ length: 12 }, () => keyOf(freshId()));
    const clients = await Promise.all(keys.map((key) => connect(node, key)));
    const before = await deadlocks();
    const until = Date.now() + 3_000;
    const typing = clients.map(async (client) => {
      while (Date.now() < until) await client.type("x");
    });
    // Several documents in one transaction, in any order: they leave what they bring in the inbox, and lock each document.
    const patching = Array.from({ length: 2 }, async (_, writer) => {
      for (let round = 0; Date.now() < until; round++) {
        const key = keys[(round * 5 + writer) % keys.length] ?? keyOf("none");
        await t.asUser("ada", (tx) => patchDocument(tx, key, { title: String(round) }));
      }
    });
    await Promise.all([...typing, ...patching]);
    for (const [index, key] of keys.entries()) {
      const client = clients[index];
      await eventually(async () => (await record(t.db, key))?.body === client?.text());
    }
    expect(await deadlocks()).toBe(before);
    expect(node.warnings).toEqual([]);
  });

  async function deadlocks(): Promise<number> {
    const [row] = await t.db.query<{ deadlocks: number }>(
      "select deadlocks from pg_stat_database where datname = current_database()",
    );
    return row?.deadlocks ?? 0;
  }
});
