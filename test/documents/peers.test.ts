import fc from "fast-check";
import { LoroDoc } from "loro-crdt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database, Transaction } from "../../src/database/types.js";
import type { Ends } from "../../src/documents/loro/api.js";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { blobSpans } from "../../src/documents/loro/format/spans.js";
import { ownersOf, peersIn } from "../../src/documents/peer-owners.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/index.js";
import { describeEachPostgres, postgres, type TestDatabase } from "../support/databases.js";
import { inbox, patchDocument, startWorkerNode } from "../worker/support.js";
import { declare, eventually, freshId, keyOf } from "./live/support.js";
import { repairChecksum } from "./loro/support/corrupt.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fields = { title: "string", body: "text", stars: "integer" };
const page = (recordId: string) => ({ appId: "notes", tableName: "pages", recordId });

interface Stored {
  payload: Uint8Array;
  ends: Ends;
}

const storedUpdates = (db: Database, id: string) =>
  db.query<Stored>("select payload, ends from perch.document_updates where record_id = $1 order by seq", [id]);

/** The tail as somebody reads it who gets every update: each goes on where its peer stood. Out: the peers. */
function readThrough(updates: readonly Stored[]): { doc: LoroDoc; peers: ReadonlySet<string> } {
  const doc = new LoroDoc();
  const ends = new Map<string, number>();
  for (const { payload } of updates) {
    for (const [peer, { start, end }] of blobSpans(payload)) {
      expect(start).toBe(ends.get(peer) ?? 0);
      ends.set(peer, end);
    }
    expect(doc.import(payload).pending).toBeNull();
  }
  return { doc, peers: new Set(ends.keys()) };
}

it("An update names so many peers at most: sixteen bytes are one, and each is asked for", async () => {
  const naming = (count: number) => {
    const blob = new Uint8Array(22 + 16 * count);
    blob.set(new LoroDoc().export({ mode: "update" }).subarray(0, 22));
    const view = new DataView(blob.buffer);
    for (let n = 0; n < count; n++) {
      blob.set([15, 0, 1, 0, 0, 0, 0, 1], 22 + 16 * n);
      view.setBigUint64(30 + 16 * n, BigInt(n + 1), true);
    }
    return repairChecksum(blob);
  };
  expect((await peersIn(engine, [naming(20_000)])).size).toBe(20_000);
  await expect(peersIn(engine, [naming(20_001)])).rejects.toMatchObject({
    code: "PE413",
    detail: { limit: "update_peers", max: 20_000 },
  });
});

describeEachPostgres("Documents that are written by patches", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await t.db.query("select perch.declare_table('notes', 'pages', $1::jsonb)", [JSON.stringify(fields)]);
  });
  const asAda = <T>(work: (tx: Transaction) => Promise<T>) => withContext(t.db, { userId: "ada" }, work);

  it("are asked whose very many peers are in a moment, however long their tails", async () => {
    const id = freshId();
    await asAda((tx) => new DocumentStore({ engine }).applyPatch(tx, page(id), { stars: 1 }));
    await t.db.query(
      `insert into perch.document_updates (space_id, app_id, table_name, record_id, seq, payload, ends, user_id, revision)
       select '~ada', 'notes', 'pages', $1, 10 + n, '', jsonb_build_object((1000 + n)::text, n), 'ada', n
         from generate_series(1, 4000) n`,
      [id],
    );
    const peers = Array.from({ length: 60_000 }, (_, n) => `${1001 + n}`);
    const owned = await t.db.transaction(async (tx) => {
      await tx.query("set local statement_timeout = '12s'");
      return ownersOf(tx, keyOf(id), "eve", peers);
    });
    expect([owned.foreign.length, owned.own.length]).toEqual([4_000, 56_000]);
  });

  it("have a peer for each store that writes them, however many patches there are", async () => {
    const stores = [new DocumentStore({ engine }), new DocumentStore({ engine }), new DocumentStore({ engine })];
    const id = freshId();
    for (let n = 0; n < 150; n++) {
      const store = stores[n % 3];
      if (n % 40 === 0) await store?.evict();
      await asAda(async (tx) => store?.applyPatch(tx, page(id), { stars: n, body: "x".repeat(n % 7) }));
    }
    const { doc, peers } = readThrough(await storedUpdates(t.db, id));
    expect(peers.size).toBe(3);
    expect(doc.getMap("fields").get("stars")).toBe(149);
  });

  it("never have two operations of one name, whatever becomes of the transactions", async () => {
    const step = fc.record({
      store: fc.nat(1),
      end: fc.constantFrom("commit", "commit", "roll back", "savepoint", "twice", "side by side", "evict"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14 }), async (steps) => {
        const stores = [new DocumentStore({ engine }), new DocumentStore({ engine })];
        const id = freshId();
        let n = 0;
        for (const { store, end } of steps) {
          const one = stores[store] as DocumentStore;
          const patch = (tx: Transaction) =>
            one.applyPatch(tx, page(id), { stars: ++n, body: `${n} ${"y".repeat(n)}` });
          if (end === "evict") await one.evict();
          const done = asAda(async (tx) => {
            if (end === "savepoint") {
              await tx.query("savepoint before");
              await patch(tx);
              await tx.query("rollback to savepoint before");
            }
            if (end === "side by side") await Promise.all([patch(tx), patch(tx)]);
            else await patch(tx);
            if (end === "twice") await patch(tx);
            if (end === "roll back") throw new Error("changed my mind");
          });
          if (end === "roll back") await expect(done).rejects.toThrow("changed my mind");
          else await done;
        }
        const { doc } = readThrough(await storedUpdates(t.db, id));
        const [row] = await asAda((tx) =>
          tx.query<{ data: object }>("select data from perch.records where record_id = $1", [id]),
        );
        if (row) {
          const { snapshot } = await asAda((tx) => (stores[0] as DocumentStore).snapshot(tx, page(id)));
          expect(LoroDoc.fromSnapshot(snapshot).toJSON()).toEqual(doc.toJSON());
          expect(row.data).toMatchObject({ stars: doc.getMap("fields").get("stars") });
        }
      }),
      { numRuns: 25 },
    );
  });
});

describe("Patches that workers merge", () => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await postgres(18)();
    await declare(t);
  });
  const merged = (db: Database) => eventually(async () => (await inbox(db)).length === 0);

  it("are written under a few peers, whichever worker merges them and whatever they are based on", async () => {
    const nodes = [await startWorkerNode(t), await startWorkerNode(t)];
    const key = keyOf(freshId());
    const seen: number[] = [];
    for (let n = 0; n < 120; n++) {
      // Each is made on what somebody saw a while ago.
      const base = n % 3 === 0 ? (seen.at(-3) ?? null) : null;
      seen.push(await withContext(t.db, { userId: "ada" }, (tx) => patchDocument(tx, key, { body: `${n}` }, base)));
      if (n % 10 === 9) await merged(t.db);
    }
    await merged(t.db);
    const { peers } = readThrough(await storedUpdates(t.db, key.recordId));
    expect(peers.size).toBeLessThanOrEqual(4 * nodes.length);
    expect(nodes.flatMap(({ warnings }) => warnings)).toEqual([]);
  });

  it("are folded also where nothing but a DocumentStore writes", async () => {
    await startWorkerNode(t, { settings: { pollMs: 50, takeOverMs: 50 } });
    const store = new DocumentStore({ engine });
    const id = freshId();
    for (let n = 0; n < 4; n++) {
      const body = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000))).toString("base64");
      await withContext(t.db, { userId: "ada" }, (tx) => store.applyPatch(tx, page(id), { body }));
    }
    await eventually(async () => {
      const [row] = await t.db.query("select from perch.document_snapshots where record_id = $1", [id]);
      return row !== undefined;
    });
  });

  it("are written under another peer once the outcome of a merge is not known", async () => {
    const connectionLost = () => Object.assign(new Error("the connection was lost"), { code: "08006" });
    let outcome: "known" | "lost" | "unknown" = "known";
    const db = await t.login("perch_worker");
    const node = await startWorkerNode(t, {
      db: {
        ...db,
        async transaction(work) {
          const result = await db.transaction(async (tx) => {
            const made = await work(tx);
            if (outcome === "lost") throw connectionLost();
            return made;
          });
          if (outcome === "unknown") throw connectionLost();
          return result;
        },
      },
      settings: { pollMs: 50 },
    });
    const key = keyOf(freshId());
    const patch = (n: number) => withContext(t.db, { userId: "ada" }, (tx) => patchDocument(tx, key, { body: `${n}` }));
    for (const [n, next] of (["known", "known", "lost", "known", "unknown", "known"] as const).entries()) {
      outcome = next;
      await patch(n);
      if (next === "lost") {
        await eventually(() => node.warnings.length > 0);
        outcome = "known";
      }
      await merged(t.db);
    }
    const { doc, peers } = readThrough(await storedUpdates(t.db, key.recordId));
    expect(doc.getText("body").toString()).toBe("5");
    expect(peers.size).toBeGreaterThan(1);
  });
});
