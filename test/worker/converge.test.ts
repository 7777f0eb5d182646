import * as fc from "fast-check";
import { LoroDoc } from "loro-crdt";
import { expect, it } from "vitest";
import type { DocumentKey } from "../../src/documents/key.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/index.js";
import { foldDocument } from "../../src/worker/project.js";
import {
  ada,
  type Client,
  cleanup,
  connect,
  declare,
  eventually,
  fragileEngine,
  freshId,
  keyOf,
  pause,
  storedText,
  strangersUpdate,
} from "../documents/live/support.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { inbox, patchDocument, pushUpdate, record, startWorkerNode, type WorkerNode } from "./support.js";

/*
 * Every edit inserts one character that occurs nowhere else. So the text in the end tells, of each edit, whether it is there, and
 * whether it is there twice; and edits that were committed or acknowledged must be, and those rolled back or refused must not.
 */

/** Where in a text, as a share of its length. */
const place = fc.nat(999).map((thousandth) => thousandth / 1_000);

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("type" as const), who: fc.nat(3), at: place }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("patch" as const), age: fc.nat(5), at: place }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("push" as const), at: place }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("store" as const), who: fc.nat(1), at: place, undo: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("title" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("rollback" as const), at: place }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("hostile" as const), who: fc.nat(3), kind: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("cut" as const), node: fc.nat(1), late: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("join" as const), node: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fold" as const), node: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("trap" as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.nat(15) }) },
);
const open = postgres(18);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

interface World {
  readonly t: TestDatabase;
  readonly key: DocumentKey;
  readonly nodes: readonly [WorkerNode, WorkerNode];
  readonly trapping: Uint8Array;
  /** As two processes of an app would have them. */
  readonly stores: readonly [DocumentStore, DocumentStore];
}

async function live(world: World, steps: readonly Step[]): Promise<void> {
  const { t, key, nodes } = world;
  const clients: Client[] = [];
  for (const node of [nodes[0], nodes[0], nodes[1], nodes[1]]) clients.push(await connect(node, key));
  /** What a reader of SQL saw, the latest first. */
  const read: { seq: number; text: string }[] = [{ seq: 0, text: "" }];
  const there = new Set<string>();
  /** Of these, the ones that may yet be set aside, because they are based on what is no longer kept. */
  const patched = new Set<string>();
  const absent = new Set<string>();
  const running: Promise<unknown>[] = [];
  let next = 0x4e00;
  const character = () => String.fromCharCode(next++);
  const insert = (text: string, letter: string, at: number) => {
    const index = Math.floor(at * (text.length + 1));
    return text.slice(0, index) + letter + text.slice(index);
  };

  /** As clients heal: join again, take what is there, send what is not. */
  async function heal(client: Client): Promise<void> {
    // Again while the document, or the thread that has it, is just being given up.
    await eventually(async () => {
      const joined = await client.document.join(client.doc.oplogVersion().encode(), () => undefined);
      joined.leave();
      for (const update of joined.updates) client.doc.import(update);
      const server = new LoroDoc();
      const everything = await client.document.join(new Uint8Array(), () => undefined);
      everything.leave();
      for (const update of everything.updates) server.import(update);
      const lacking = client.doc.export({ mode: "update", from: server.oplogVersion() });
      await client.document.append([lacking], ada, undefined);
      return true;
    }, "a client to heal");
  }

  async function take(one: Step): Promise<void> {
    switch (one.do) {
      case "type": {
        const client = clients[one.who] as Client;
        const letter = character();
        await client.type(letter, Math.floor(one.at * (client.text().length + 1))).catch(() => heal(client));
        there.add(letter);
        return;
      }
      case "patch": {
        const base = read[Math.min(one.age, read.length - 1)] as { seq: number; text: string };
        const letter = character();
        await t.asUser("ada", (tx) => patchDocument(tx, key, { body: insert(base.text, letter, one.at) }, base.seq));
        patched.add(letter);
        there.add(letter);
        return;
      }
      case "push": {
        const [state] = await t.asUser("ada", (tx) =>
          tx.query<{ snapshot: Uint8Array | null; updates: Uint8Array[]; head_seq: number }>(
            "select * from perch.document_state(app_id => 'notes', table_name => 'pages', record_id => $1)",
            [key.recordId],
          ),
        );
        const doc = new LoroDoc();
        for (const blob of [...(state?.snapshot ? [state.snapshot] : []), ...(state?.updates ?? [])]) doc.import(blob);
        read.unshift({ seq: state?.head_seq ?? 0, text: doc.getText("body").toString() });
        const from = doc.oplogVersion();
        const letter = character();
        doc.getText("body").insert(Math.floor(one.at * (doc.getText("body").length + 1)), letter);
        doc.commit();
        await t.asUser("ada", (tx) => pushUpdate(tx, key, doc.export({ mode: "update", from })));
        there.add(letter);
        return;
      }
      case "store": {
        const letter = character();
        const store = world.stores[one.who] as DocumentStore;
        const work = withContext(t.db, { userId: "ada" }, async (tx) => {
          const { snapshot, seq } = await store.snapshot(tx, key);
          const text = LoroDoc.fromSnapshot(snapshot).getText("body").toString();
          await store.applyPatch(tx, key, { body: insert(text, letter, one.at) }, { baseSeq: seq });
          if (one.undo) throw new Error("rolled back");
        });
        const failure = await work.then(
          () => undefined,
          (error: Error) => error.message,
        );
        // Folded twice between the two calls, which no worker does in so short a time, the document has forgotten the base.
        if (!failure?.startsWith("resync_required: base_seq")) expect([undefined, "rolled back"]).toContain(failure);
        (failure === undefined ? there : absent).add(letter);
        return;
      }
      case "title":
        await t.asUser("ada", (tx) => patchDocument(tx, key, { title: character() }));
        return;
      case "rollback": {
        const letter = character();
        absent.add(letter);
        await t
          .asUser("ada", async (tx) => {
            await pushUpdate(
              tx,
              key,
              strangersUpdate((doc) => doc.getText("body").insert(0, letter)),
            );
            throw new Error("rolled back");
          })
          .catch(() => undefined);
        return;
      }
      case "hostile": {
        const letter = character();
        absent.add(letter);
        const doc = new LoroDoc();
        doc.getText("body").insert(0, letter);
        doc.commit();
        const from = doc.oplogVersion();
        doc.getText(one.kind === 1 ? "elsewhere" : "body").insert(0, letter);
        doc.commit();
        const update = doc.export({ mode: "update", ...(one.kind === 1 ? {} : { from }) });
        if (one.kind === 0) update.fill(0xff, 30);
        if (one.kind === 2) await t.asUser("ada", (tx) => pushUpdate(tx, key, update));
        else await clients[one.who]?.document.append([update], ada, undefined).catch(() => undefined);
        return;
      }
      case "cut": {
        const { db } = nodes[one.node] as WorkerNode;
        void db.hold(/append_updates/, one.late ? "after" : "before").then(() => db.go(new Error("the line is dead")));
        return;
      }
      case "join": {
        const acknowledged = [...there].filter((letter) => !patched.has(letter));
        const node = nodes[one.node] as WorkerNode;
        const client = await connect(node, key);
        // What the other node acknowledged, and what is still pending, may be on its way.
        await eventually(() => acknowledged.every((letter) => client.text().includes(letter)));
        clients.push(client);
        return;
      }
      case "fold": {
        const node = nodes[one.node] as WorkerNode;
        const document = await node.live.open(key);
        await foldDocument(node.db, document).finally(() => document.release());
        return;
      }
      case "trap": {
        const victim = await nodes[0].live.open(keyOf("victim"));
        await victim.append([world.trapping], ada, undefined).catch(() => undefined);
        victim.release();
        return;
      }
      case "wait":
        await pause(one.ms);
    }
  }

  for (const one of steps) {
    const taken = take(one);
    running.push(taken);
    if (one.do === "wait") await taken;
  }
  await Promise.all(running);
  for (const { db } of nodes) db.go();
  await eventually(async () => (await inbox(t.db)).every(({ status }) => status === "rejected"));
  await Promise.all(nodes.map((node) => node.live.refreshAll()));
  for (const client of clients) await heal(client);
  await Promise.all(nodes.map((node) => node.live.refreshAll()));

  const stored = await storedText(t.db, key);
  const letters = [...stored];
  expect(new Set(letters).size).toBe(letters.length);
  // A patch that is older than the retained tail is set aside, and says so.
  const [refused] = await t.db.query<{ texts: string[] }>(
    "select coalesce(array_agg(patch ->> 'body'), '{}') as texts from perch.document_inbox where status = 'rejected' and kind = 'patch' and error ->> 'code' = 'PE410'",
  );
  const missing = [...there].filter((letter) => !letters.includes(letter));
  for (const letter of missing) expect(refused?.texts.some((text) => text.includes(letter))).toBe(true);
  for (const letter of absent) expect(letters).not.toContain(letter);
  for (const client of clients) expect(client.text()).toBe(stored);
  await eventually(async () => ((await record(t.db, key))?.body ?? "") === stored);
  const [first] = clients;
  await eventually(
    async () => ((await record(t.db, key))?.title ?? null) === (first?.doc.getMap("fields").get("title") ?? null),
  );
}

it("all replicas, the stored document and the record end equal, whatever happens on two nodes at once", async () => {
  const t = await open();
  await declare(t);
  const { engine, trapping } = fragileEngine();
  const stores = [0, 1].map(() => new DocumentStore({ engineOptions: { threads: 1 } }));
  cleanup(() => Promise.all(stores.map((store) => store.close())));
  const nodes = [
    await startWorkerNode(t, { engine, settings: { pollMs: 100, takeOverMs: 100 } }),
    await startWorkerNode(t, { deaf: true, settings: { pollMs: 30, takeOverMs: 100 } }),
  ] as const;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 60, size: "max" }), async (steps) => {
      await t.db.query("delete from perch.document_inbox");
      await live(
        { t, key: keyOf(freshId()), nodes, trapping, stores: stores as [DocumentStore, DocumentStore] },
        steps,
      );
    }),
    { numRuns: 4, endOnFailure: true },
  );
}, 300_000);
