import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { LoroDoc, VersionVector } from "loro-crdt";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { DocumentKey } from "../../../src/documents/key.js";
import { fromStored, maxVersionBytes } from "../../../src/documents/live/from-stored.js";
import { createPreloader, type Preloadable } from "../../../src/documents/live/preload.js";
import { readDocument } from "../../../src/documents/live/queries.js";
import type { Joined } from "../../../src/documents/live/types.js";
import type { DocumentEngine } from "../../../src/documents/loro/engine.js";
import { encodeVersionMap } from "../../../src/documents/loro/format/version-vector.js";
import { foldDocument } from "../../../src/worker/project.js";
import { describeBothKinds, postgres, type TestDatabase } from "../../support/databases.js";
import { lendEngine } from "../../support/engines.js";
import {
  ada,
  type Client,
  cleanup,
  connect,
  declare,
  eventually,
  fields,
  freshId,
  keyOf,
  type Node,
  pause,
  startNode,
} from "./support.js";

type Call = DocumentEngine["call"];

/** Methods that the engine of a node was asked for, but for making it let go of something. */
function watched(node: Node): () => string[] {
  const calls = vi.spyOn(node.engine, "call");
  return () => calls.mock.calls.map(([, method]) => method as string).filter((method) => method !== "drop");
}

/** An engine that loads nothing before it is let, or never does. */
function stalling(): { engine: DocumentEngine; go(): void; refuse(): void } {
  const engine = lendEngine();
  cleanup(() => engine.close());
  let open: () => void = () => undefined;
  let refused = false;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  cleanup(() => open());
  const call = (async (...args: Parameters<Call>) => {
    if (args[1] === "load") {
      await gate;
      if (refused) throw new Error("this engine loads nothing");
    }
    return engine.call(...args);
  }) as Call;
  return {
    engine: { ...engine, call },
    go: open,
    refuse() {
      refused = true;
      open();
    },
  };
}

/** A document with a snapshot up to "folded" and a tail behind it, that its writer still has open. */
async function written(node: Node, key = keyOf(freshId())): Promise<Client> {
  const writer = await connect(node, key);
  for (const letters of ["fol", "ded"]) await writer.type(letters);
  await foldDocument(node.db, writer.document);
  for (const letters of [" and", " on"]) await writer.type(letters);
  return writer;
}

/** Joins with what `doc` has, and imports what it is given. Out: how much that was, and whether the version is what it led to. */
async function joinWith(node: Node, key: Client["document"]["key"], doc: LoroDoc) {
  const document = await node.live.open(key);
  cleanup(() => document.release());
  const joined = await document.join(doc.oplogVersion().encode(), () => undefined);
  cleanup(() => joined.leave());
  for (const update of joined.updates) {
    const { pending } = doc.import(update);
    expect(pending?.size ?? 0).toBe(0);
  }
  return { document, given: joined.updates.length, version: VersionVector.decode(joined.version).toJSON() };
}

const endsOf = (doc: LoroDoc) => doc.oplogVersion().toJSON();

describeBothKinds("joining a document of which nothing is in memory", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
  });

  it("gives a client that has nothing what is stored, with its version, and calls no engine for it", async () => {
    const writer = await written(await startNode(t));
    const node = await startNode(t);
    const calls = watched(node);
    const doc = new LoroDoc();
    const { given, version } = await joinWith(node, writer.document.key, doc);
    expect(calls()).toEqual([]);
    expect(given).toBe(3);
    expect(doc.getText("body").toString()).toBe("folded and on");
    expect(version).toEqual(endsOf(doc));
    // For the edits that may come.
    await eventually(() => node.live.stats().warm === 1);
    expect(calls()).toEqual(["load"]);
  });

  it("does so without a snapshot, and of a document that was never written", async () => {
    const one = await startNode(t);
    const writer = await connect(one, keyOf(freshId()));
    await writer.type("tail only");
    const node = await startNode(t);
    const calls = watched(node);
    const [doc, nothing] = [new LoroDoc(), new LoroDoc()];
    expect((await joinWith(node, writer.document.key, doc)).version).toEqual(endsOf(writer.doc));
    expect(doc.getText("body").toString()).toBe("tail only");
    const unwritten = await node.live.open(keyOf(freshId()));
    const joined = await unwritten.join(nothing.oplogVersion().encode(), () => undefined);
    expect(joined).toMatchObject({ version: Uint8Array.of(0), updates: [], seq: 0 });
    expect(calls()).not.toContain("exportFrom");
    unwritten.release();
  });

  it("gives a client that knows the snapshot what it may lack of the tail", async () => {
    const one = await startNode(t);
    const writer = await written(one);
    const { key } = writer.document;
    const [behind, level] = [new LoroDoc(), new LoroDoc()];
    for (const doc of [behind, level]) doc.import(writer.doc.export({ mode: "snapshot" }));
    await writer.type(" further");
    level.import(writer.doc.export({ mode: "update" }));
    // What it made while it was away is nothing that it lacks.
    level.getText("body").insert(0, "offline ");
    level.commit();
    const node = await startNode(t);
    const calls = watched(node);
    const level_ = await joinWith(node, key, level);
    const behind_ = await joinWith(node, key, behind);
    expect([level_.given, behind_.given]).toEqual([0, 1]);
    expect(level_.version).toEqual(endsOf(writer.doc));
    expect(behind_.version).toEqual(endsOf(writer.doc));
    expect(behind.getText("body").toString()).toBe("folded and on further");
    expect(calls()).not.toContain("exportFrom");
  });

  it("has an engine tell what a client lacks that knows a part of the snapshot", async () => {
    const one = await startNode(t);
    const writer = await connect(one, keyOf(freshId()));
    await writer.type("early");
    const doc = new LoroDoc();
    doc.import(writer.doc.export({ mode: "update" }));
    await writer.type(" late");
    await foldDocument(one.db, writer.document);
    await writer.type(" later");
    const node = await startNode(t);
    const calls = watched(node);
    const { given, version } = await joinWith(node, writer.document.key, doc);
    expect(calls()).toEqual(["load", "exportFrom"]);
    expect(given).toBe(1);
    expect(doc.getText("body").toString()).toBe("early late later");
    expect(version).toEqual(endsOf(writer.doc));
  });

  it("is PE422 for a version that is none, and goes on", async () => {
    const writer = await written(await startNode(t));
    const { key } = writer.document;
    const node = await startNode(t);
    const document = await node.live.open(key);
    for (const garbage of [[0xff], [3, 1, 2], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], [1]]) {
      await expect(document.join(Uint8Array.from(garbage), () => undefined)).rejects.toMatchObject({ code: "PE422" });
    }
    const doc = new LoroDoc();
    await joinWith(node, key, doc);
    expect(doc.getText("body").toString()).toBe("folded and on");
    document.release();
  });

  it("has an engine answer where nobody noted the snapshot's version, or where the last update ends", async () => {
    const one = await startNode(t);
    const [first, second] = [await written(one), await written(one)];
    await t.db.query("update perch.document_snapshots set version = null where record_id = $1", [
      first.document.key.recordId,
    ]);
    await t.db.query("update perch.document_updates set ends = null where record_id = $1", [
      second.document.key.recordId,
    ]);
    for (const writer of [first, second]) {
      const node = await startNode(t);
      const calls = watched(node);
      const doc = new LoroDoc();
      const { version } = await joinWith(node, writer.document.key, doc);
      expect(calls()).toEqual(["load", "exportFrom"]);
      expect(doc.getText("body").toString()).toBe("folded and on");
      expect(version).toEqual(endsOf(doc));
    }
  });

  it("has an engine read the version of a document of very many peers, and of a reader who names very many", async () => {
    const peers = Array.from({ length: 6_000 }, (_, n) => [`${2n ** 63n + BigInt(n)}`, 1] as const);
    const long = encodeVersionMap(new Map(peers));
    expect(long.byteLength).toBeGreaterThan(maxVersionBytes);
    const writer = await written(await startNode(t));
    const stored = await readDocument(t.db, writer.document.key);
    const nothing = Uint8Array.of(0);
    expect(fromStored(stored, nothing)?.updates.length).toBe(3);
    expect(fromStored({ ...stored, snapshotVersion: long }, nothing)).toBeUndefined();
    expect(fromStored(stored, long)).toBeUndefined();
    // As many as fit are read here.
    const fitting = encodeVersionMap(new Map(peers.slice(0, 5_000)));
    expect(fromStored({ ...stored, snapshotVersion: fitting }, nothing)).toBeDefined();
  });

  it("has an engine make one update of a tail that is longer than all before it", async () => {
    const writer = await written(await startNode(t));
    await writer.type(randomBytes(40_000).toString("hex"));
    const node = await startNode(t);
    const calls = watched(node);
    const doc = new LoroDoc();
    const { given } = await joinWith(node, writer.document.key, doc);
    expect(calls()).toEqual(["load", "exportFrom"]);
    expect(given).toBe(1);
    expect(doc.getText("body").toString()).toBe(writer.text());
  });

  it("notes the version of a snapshot that is folded", async () => {
    const node = await startNode(t);
    const writer = await written(node);
    await foldDocument(node.db, writer.document);
    const [row] = await t.db.query<{ snapshot: Uint8Array; version: Uint8Array }>(
      "select snapshot, version from perch.document_snapshots where record_id = $1",
      [writer.document.key.recordId],
    );
    const snapshot = LoroDoc.fromSnapshot(row?.snapshot ?? new Uint8Array());
    expect(VersionVector.decode(row?.version ?? new Uint8Array()).toJSON()).toEqual(endsOf(snapshot));
    expect(endsOf(snapshot)).toEqual(endsOf(writer.doc));
  });
});

describe("a version that goes with stored bytes", () => {
  const open = postgres(18);

  it("claims nothing that is not given, and nobody is denied what it does not name", async () => {
    const t = await open();
    await declare(t);
    const one = await startNode(t);
    const writer = await written(one);
    const { key } = writer.document;
    const known = new LoroDoc();
    known.import(writer.doc.export({ mode: "snapshot" }));
    const strangers = ["kept", "refused", "later"].map((title) => {
      const doc = new LoroDoc();
      doc.getMap(title === "later" ? "other" : "fields").set("title", title);
      doc.commit();
      return { peer: doc.peerIdStr, update: doc.export({ mode: "update" }) };
    });
    const [kept, refused, later] = strangers;
    if (!kept || !refused || !later) throw new Error("three strangers");
    await declare(t, { ...fields, other: "map" });
    one.live.redeclared("notes", "pages");
    // Of updates stored as one, the last says where they end; a database with a lower limit of its own may have refused just that one.
    const { seq } = await writer.document.append([kept.update, refused.update], ada, undefined);
    const rows = await t.db.query(
      "select seq, ends is null as unsaid from perch.document_updates where seq >= $1 order by seq",
      [seq - 1],
    );
    expect(rows).toEqual([
      { seq: seq - 1, unsaid: true },
      { seq, unsaid: false },
    ]);
    await t.db.query("delete from perch.document_updates where record_id = $1 and seq = $2", [key.recordId, seq]);
    const other = await connect(await startNode(t), key);
    await other.document.append([later.update], ada, undefined);
    known.import(later.update);

    const node = await startNode(t);
    const calls = watched(node);
    for (const doc of [new LoroDoc(), known]) {
      const { version } = await joinWith(node, key, doc);
      for (const [peer, end] of version) expect(endsOf(doc).get(peer) ?? 0).toBeGreaterThanOrEqual(end);
      expect(doc.getMap("fields").get("title")).toBe("kept");
      expect(doc.getMap("other").get("title")).toBe("later");
      expect(version.has(refused.peer as `${number}`)).toBe(false);
    }
    expect(calls()).not.toContain("exportFrom");
  });
});

describe("a document that is open and has no copy", () => {
  const open = postgres(18);

  async function withoutCopy() {
    const t = await open();
    await declare(t);
    const one = await startNode(t);
    const writer = await written(one);
    const { key } = writer.document;
    const stall = stalling();
    const two = await startNode(t, { engine: stall.engine });
    return { t, one, two, writer, key, stall };
  }

  it("answers a crowd while its copy is being loaded", async () => {
    const { two, key, writer, stall } = await withoutCopy();
    const calls = watched(two);
    const crowd: Client[] = [];
    for (let count = 0; count < 50; count++) crowd.push(await connect(two, key));
    expect(calls().filter((method) => method !== "load")).toEqual([]);
    expect(two.db.counted().open_document).toBe(1);
    for (const reader of crowd) expect(reader.text()).toBe(writer.text());
    // All of them are told what comes, and an edit needs no second load.
    stall.go();
    await crowd[0]?.type("!");
    for (const reader of crowd) expect(reader.text()).toBe("folded and on!");
    expect(calls().filter((method) => method === "load")).toHaveLength(1);
  });

  it("tells readers what others append, and has joined what they were told, without an engine", async () => {
    const { two, key, writer, stall } = await withoutCopy();
    stall.refuse();
    const reader = await connect(two, key);
    await eventually(() => two.live.peek(key)?.position === reader.document.position);
    for (const letters of [" a", " b"]) {
      await writer.type(letters);
      await reader.document.refresh();
      expect(reader.text()).toBe(writer.text());
      const late = await connect(two, key);
      expect(late.text()).toBe(writer.text());
      expect(late.document.position).toBe(writer.document.position);
    }
    expect(two.live.stats().warm).toBe(0);
  });

  it("loses nothing that is committed while it is joined, read or loaded", async () => {
    const { one, two, key, writer, stall } = await withoutCopy();
    const reader = await connect(two, key);
    const typing = (async () => {
      for (let count = 0; count < 40; count++) await writer.type(`${count % 10}`);
    })();
    const crowd: Client[] = [];
    setTimeout(stall.go, 30);
    for (let count = 0; count < 20; count++) {
      void reader.document.refresh();
      crowd.push(await connect(two, key));
      await pause(2);
    }
    await typing;
    await crowd[7]?.type("?");
    await writer.document.refresh();
    await reader.document.refresh();
    expect(writer.text()).toHaveLength("folded and on".length + 41);
    for (const client of [reader, ...crowd]) expect(client.text()).toBe(writer.text());
    expect((await connect(one, key)).text()).toBe(writer.text());
  });

  it("loses nothing of what is being delivered to whoever joins in between", async () => {
    const { two, key, stall } = await withoutCopy();
    stall.go();
    const writer = await connect(two, key);
    // Large enough to be kept for the next who comes.
    await writer.type(randomBytes(50_000).toString("hex"));
    const kept = await connect(two, key);
    expect(kept.text()).toBe(writer.text());
    const { document } = kept;
    const doc = new LoroDoc();
    let late: Promise<Joined> | undefined;
    const { leave } = await document.join(kept.doc.oplogVersion().encode(), () => {
      // Behind the deliveries, before whoever waits for them goes on.
      queueMicrotask(() => {
        late ??= document.join(new Uint8Array(), ({ updates }) => doc.importBatch([...updates]));
      });
    });
    await writer.type("!");
    const joined = await late;
    doc.importBatch([...(joined?.updates ?? [])]);
    expect(doc.getText("body").toString()).toBe(writer.text());
    joined?.leave();
    leave();
  });

  it("begins a new incarnation as any other, and gives nothing of the old one", async () => {
    const { t, one, two, key, stall } = await withoutCopy();
    stall.refuse();
    const reader = await connect(two, key);
    await t.asUser("ada", (tx) =>
      tx.query("select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => $1)", [
        key.recordId,
      ]),
    );
    await reader.document.refresh();
    expect(reader.ended()).toBe(true);
    expect((await connect(two, key)).text()).toBe("");
    const heir = await connect(await startNode(t), key);
    await heir.type("second life");
    await two.live.refreshAll();
    const again = await connect(two, key);
    expect(again.text()).toBe("second life");
    expect(VersionVector.decode((await joinedVersion(again)).version).toJSON()).toEqual(endsOf(heir.doc));
    expect(one.live.stats().documents).toBe(1);
  });

  const joinedVersion = async ({ document }: Client) => {
    const joined = await document.join(new Uint8Array(), () => undefined);
    joined.leave();
    return joined;
  };

  it("gives who joins later also what came after it was read", async () => {
    const { two, key, writer } = await withoutCopy();
    const document = await two.live.open(key);
    await writer.type("!");
    await document.refresh();
    expect(document.position).toBe(writer.document.position);
    const late = await connect(two, key);
    expect(late.text()).toBe("folded and on!");
    document.release();
  });

  it("shows the fields that its table was declared anew with", async () => {
    const { t, two, key, stall } = await withoutCopy();
    stall.go();
    const document = await two.live.open(key);
    await declare(t, { ...fields, mood: "string" });
    two.live.redeclared("notes", "pages");
    const shown = (await document.project()).data;
    expect(shown).toEqual({ title: null, body: "folded and on", mood: null });
    document.release();
  });

  it("is loaded with the fields that its table was declared anew with", async () => {
    const { t, two, key, stall } = await withoutCopy();
    const client = await connect(two, key);
    await declare(t, { ...fields, mood: "string" });
    two.live.redeclared("notes", "pages");
    stall.go();
    client.doc.getMap("fields").set("mood", "good");
    await client.send();
    const late = await connect(two, key);
    expect(late.doc.getMap("fields").get("mood")).toBe("good");
  });

  it("refuses what is wrong, as any other, and stores what is right", async () => {
    const { two, key, stall } = await withoutCopy();
    const client = await connect(two, key);
    const bad = client.document.append([Uint8Array.from({ length: 64 }, (_, at) => at)], ada, undefined);
    const good = client.type("!");
    stall.go();
    await expect(bad).rejects.toMatchObject({ code: "PE422" });
    await good;
    expect((await connect(two, key)).text()).toBe("folded and on!");
  });

  it("loads a few at a time after a crowd came, and an edited one at once", async () => {
    const t = await open();
    await declare(t);
    const one = await startNode(t);
    const keys = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const writer = await connect(one, keyOf(freshId()));
        await writer.type("x");
        return writer.document.key;
      }),
    );
    const stall = stalling();
    const two = await startNode(t, { engine: stall.engine });
    const calls = watched(two);
    const clients = await Promise.all(keys.slice(1).map((key) => connect(two, key)));
    // Who comes after them is answered after their loads were begun, those that were.
    clients.unshift(await connect(two, keys[0] as DocumentKey));
    for (const client of clients) expect(client.text()).toBe("x");
    expect(calls()).toEqual(["load"]);
    const edited = clients.at(-1)?.type("y");
    await eventually(() => calls().length === 2);
    stall.go();
    await edited;
    await eventually(() => two.live.stats().warm === 12);
    expect(two.db.counted().open_document).toBe(12);
    expect(calls().filter((method) => method === "load")).toHaveLength(12);
  });
});

it("documents that wait to be loaded keep a bounded amount of what was read", async () => {
  const preloader = createPreloader(1);
  let go: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const events: string[] = [];
  const document = (name: string, unusedBytes: number, cold = true): Preloadable => ({
    cold,
    unusedBytes,
    spare: () => events.push(`${name} spared`),
    async preload() {
      events.push(name);
      await gate;
      if (name === "2") throw new Error("loading it failed");
    },
  });
  const large = 20 * 2 ** 20;
  for (const waiting of [document("1", large), document("2", large), document("3", large), document("4", 1_000)])
    preloader.wake(waiting);
  preloader.wake(document("never", 0, false));
  await eventually(() => events.length === 3);
  expect(events).toEqual(["1", "2 spared", "3 spared"]);
  go();
  await eventually(() => events.length === 6);
  expect(events.slice(3)).toEqual(["2", "3", "4"]);
  events.length = 0;
  // What was taken off the line is not counted any more.
  for (const waiting of [document("5", 1), document("6", large)]) preloader.wake(waiting);
  await eventually(() => events.length === 2);
  expect(events).toEqual(["5", "6"]);
});

describe("by property", () => {
  const open = postgres(18);
  const step = fc.record({
    author: fc.nat(2),
    letters: fc.stringMatching(/^[a-z]{1,3}$/),
    at: fc.nat(100),
    /** Updates that are sent in one batch. */
    batch: fc.integer({ min: 1, max: 3 }),
    afterwards: fc.constantFrom("nothing", "nothing", "nothing", "fold", "remember"),
  });

  it("who joins by what is stored ends up where an engine's export leads, whatever it knew", async () => {
    const t = await open();
    await declare(t);
    const one = await startNode(t);
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const key = keyOf(freshId());
        const authors = await Promise.all([1, 2, 3].map(() => connect(one, key)));
        const past: Uint8Array[] = [new LoroDoc().export({ mode: "snapshot" })];
        for (const { author, letters, at, batch, afterwards } of steps) {
          const writer = authors[author];
          if (!writer) continue;
          const updates: Uint8Array[] = [];
          const unsubscribe = writer.doc.subscribeLocalUpdates((update) => updates.push(update));
          for (let nth = 0; nth < batch; nth++) {
            const body = writer.doc.getText("body");
            body.insert(Math.min(at, body.length), letters);
            writer.doc.commit();
          }
          unsubscribe();
          await writer.document.append(updates, ada, undefined);
          for (const other of authors) for (const update of updates) other.doc.import(update);
          if (afterwards === "fold") await foldDocument(one.db, writer.document);
          if (afterwards === "remember") past.push(writer.doc.export({ mode: "snapshot" }));
        }
        const [{ doc: whole } = { doc: new LoroDoc() }] = authors;
        const node = await startNode(t);
        for (const known of past) {
          const [stored, exported] = [new LoroDoc(), new LoroDoc()];
          for (const doc of [stored, exported]) {
            doc.import(known);
            doc.getMap("fields").set("title", "offline");
            if (known !== past[0]) doc.commit();
          }
          const { version } = await joinWith(node, key, stored);
          // The first node has the copy, and answers by it.
          await joinWith(one, key, exported);
          expect(version).toEqual(endsOf(whole));
          expect(stored.getText("body").toString()).toBe(whole.getText("body").toString());
          expect(exported.getText("body").toString()).toBe(whole.getText("body").toString());
          for (const [peer, end] of version) expect(endsOf(stored).get(peer)).toBe(end);
        }
        for (const author of authors) author.leave();
      }),
      { numRuns: 15 },
    );
  });
});
