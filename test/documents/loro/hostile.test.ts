import { randomBytes } from "node:crypto";
import { LoroDoc, LoroList, LoroMap, LoroText, VersionVector } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { isNotLoaded } from "../../../src/documents/loro/api.js";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { seededRandom } from "../../support/traces.js";
import { createFresh, notes, openDocument, projection } from "./support/client.js";
import { corrupt, repairChecksum } from "./support/corrupt.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

/** The update that `edit` makes in a document of its own. */
function madeBy(edit: (doc: LoroDoc) => void, mode: "update" | "snapshot" = "update"): Uint8Array {
  const doc = new LoroDoc();
  edit(doc);
  doc.commit();
  return doc.export({ mode });
}

async function open() {
  const document = await fresh();
  return {
    ...document,
    take: (...updates: Uint8Array[]) => engine.call(document.id, "import", [document.id, updates]),
  };
}

describe("bytes that are no update", () => {
  const good = madeBy((doc) => doc.getText("body").insert(0, "hello"));
  const withByte = (at: number, byte: number, repair = false) => {
    const copy = new Uint8Array(good);
    copy[at] = byte;
    return repair ? repairChecksum(copy) : copy;
  };
  test.each([
    ["nothing", new Uint8Array(0)],
    ["garbage", new Uint8Array(100).fill(7)],
    ["another magic", withByte(0, 0)],
    ["a byte in the gap", withByte(8, 1)],
    ["a wrong checksum", withByte(30, 0xff)],
    ["the outdated encoding", withByte(21, 1, true)],
    ["a mode of the future", withByte(21, 9, true)],
    ["one cut short", repairChecksum(good.slice(0, 60))],
  ])("%s: refused, and the document stays as it was", async (_name, bytes) => {
    const { id, take, read } = await open();
    await take(good);
    const { replaced } = engine.stats();
    await expect(take(bytes)).rejects.toMatchObject({ code: "PE422" });
    if (!(await engine.call(id, "has", [id]))) await engine.call(id, "load", [id, notes, null, [good]]);
    expect(await read()).toMatchObject({ body: "hello" });
    expect(engine.stats().replaced).toBe(replaced);
  });

  test("one of 50 MB is refused by its size alone", async () => {
    const { id, take } = await open();
    // Of anything else that is wrong with it nothing is said.
    await expect(take(new Uint8Array(50 * 2 ** 20))).rejects.toMatchObject({
      code: "PE413",
      detail: { limit: "update_bytes", max: 16 * 2 ** 20, got: 50 * 2 ** 20 },
    });
    expect(await engine.call(id, "has", [id])).toBe(true);
  });

  test("versions that do not decode are refused, whatever the bytes", async () => {
    const { id } = await open();
    const random = seededRandom(5);
    const good = new VersionVector(new Map([["12345", 7]] as const)).encode();
    let refused = 0;
    for (let round = 0; round < 500; round++) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 20) }, () => Math.floor(random() * 256));
      if (round % 2) bytes.set(good.subarray(0, bytes.length));
      const error: unknown = await engine.call(id, "exportFrom", [id, bytes]).catch((caught: unknown) => caught);
      if (!(error instanceof Error)) continue;
      refused++;
      expect(error).toMatchObject({ code: "PE422" });
    }
    expect(refused).toBeGreaterThan(50);
    expect(await engine.call(id, "has", [id])).toBe(true);
  });
});

describe("updates that do not fit the document", () => {
  test("one without its base is refused, not kept waiting, and taken once the base is there", async () => {
    const { take, read, id } = await open();
    const doc = new LoroDoc();
    const updates: Uint8Array[] = [];
    doc.subscribeLocalUpdates((update) => void updates.push(update));
    for (const word of ["one ", "two ", "three "]) {
      doc.getText("body").insert(doc.getText("body").length, word);
      doc.commit();
    }
    const other = new LoroDoc();
    other.import(doc.export({ mode: "update" }));
    other.getText("body").insert(0, "zero ");
    other.commit();
    const concurrent = other.export({ mode: "update", from: doc.oplogVersion() });
    const [first, second, third] = updates as [Uint8Array, Uint8Array, Uint8Array];
    await take(first);
    await expect(take(third)).rejects.toMatchObject({ code: "PE422", detail: { missing: doc.peerIdStr } });
    await expect(take(concurrent)).rejects.toMatchObject({ code: "PE422", detail: { dropped: true } });
    await engine.call(id, "load", [id, notes, null, [first]]);
    expect(await take(second)).toMatchObject({ changed: true });
    expect(await read()).toMatchObject({ body: "one two " });
    // Out of order within one call is in order.
    expect(await take(concurrent, third)).toMatchObject({ changed: true });
    expect(await read()).toMatchObject({ body: "zero one two three " });
    // Known already: nothing new, and said so.
    expect(await take(second, third)).toMatchObject({ changed: false, ends: {}, updates: null });
  });

  test("another writer's operations under a peer id in use are refused, one's own repeated are not", async () => {
    const { take, read } = await open();
    const writer = (text: string, more = "") => {
      const doc = new LoroDoc();
      doc.setPeerId("77");
      doc.getText("body").insert(0, text);
      doc.commit();
      if (more) doc.getMap("fields").set("title", more);
      doc.commit();
      return doc;
    };
    const [mine, other] = [writer("mine", "title"), writer("hers", "title")];
    const updates = mine.export({ mode: "update" });
    const longer = writer("mine", "other title").export({ mode: "update" });
    await take(updates);
    for (const bad of [other.export({ mode: "update" }), longer, other.export({ mode: "snapshot" })]) {
      await expect(take(bad)).rejects.toMatchObject({ code: "PE422", detail: { peer: "77" } });
    }
    mine.getText("body").insert(4, " and more");
    mine.commit();
    other.getText("body").insert(4, " and other");
    other.commit();
    await expect(take(other.export({ mode: "update" }))).rejects.toMatchObject({
      code: "PE422",
      detail: { peer: "77" },
    });
    // All again with something new, in other pieces, as a snapshot: whatever clients do after a lost connection.
    expect(await take(mine.export({ mode: "update" }))).toMatchObject({ changed: true });
    for (const len of [1, 3, 5]) {
      const part = mine.export({ mode: "updates-in-range", spans: [{ id: { peer: "77", counter: 1 }, len }] });
      expect(await take(part)).toMatchObject({ changed: false });
    }
    expect(await take(mine.export({ mode: "snapshot" }))).toMatchObject({ changed: false });
    expect(await read()).toMatchObject({ body: "mine and more", title: "title" });
  });

  test("a snapshot without its history is refused", async () => {
    const { take } = await open();
    const doc = new LoroDoc();
    for (const word of ["one ", "two "]) {
      doc.getText("body").insert(0, word);
      doc.commit();
    }
    const shallow = doc.export({ mode: "shallow-snapshot", frontiers: doc.frontiers() });
    await expect(take(shallow)).rejects.toMatchObject({ code: "PE422" });
  });

  test("a snapshot whose state is not what its operations lead to is taken for its operations", async () => {
    const { id, take, read } = await open();
    const snapshot = madeBy((doc) => doc.getMap("fields").set("title", "honest"), "snapshot");
    const { updates } = await take(snapshot);
    // What is to be stored is free of the state.
    expect(updates).toHaveLength(1);
    await engine.call(id, "load", [id, notes, null, updates ?? []]);
    expect(await read()).toMatchObject({ title: "honest" });
  });

  test("one whose headers say what is not so is stored and passed on as what Loro makes of it", async () => {
    const base = new LoroDoc();
    base.setPeerId("7");
    base.getMovableList("cards").push("a");
    base.getText("body").insert(0, "hello");
    base.commit();
    const first = base.export({ mode: "update" });
    const writer = new LoroDoc();
    writer.setPeerId("9");
    writer.import(first);
    const from = writer.version();
    writer.getMovableList("cards").set(0, "A");
    writer.getText("body").insert(5, " there");
    writer.commit();
    const second = writer.export({ mode: "update", from });
    let lies = 0;
    for (let at = 22; at < second.length; at++) {
      const forged = new Uint8Array(second);
      forged[at] = ((forged[at] ?? 0) + 4) & 255;
      const { id, take } = await open();
      await take(first);
      const taken = await take(repairChecksum(forged)).catch(() => undefined);
      if (taken?.changed) {
        const { updates } = await engine.call(id, "exportFrom", [id, from.encode()]);
        expect((taken.updates ?? [forged]).map((update) => Buffer.from(update).toString("hex"))).toEqual(
          updates.map((update) => Buffer.from(update).toString("hex")),
        );
        if (taken.updates !== null) lies += 1;
      }
    }
    expect(lies).toBeGreaterThan(5);
  });

  test("two offline creations of one record merge, in every kind of container", async () => {
    const { take, read } = await open();
    const create = (word: string) =>
      madeBy((doc) => {
        doc.getText("body").insert(0, word);
        doc.getList("tags").push(word);
        doc.getMovableList("cards").push(word);
        doc.getTree("outline").createNode().data.set("name", word);
        doc.getCounter("likes").increment(1);
        doc.getMap("settings").set(word, true);
      });
    await take(create("one"));
    await take(create("two"));
    expect(await read()).toMatchObject({
      body: expect.stringMatching(/onetwo|twoone/),
      tags: expect.arrayContaining(["one", "two"]),
      cards: expect.arrayContaining(["one", "two"]),
      outline: [{ name: expect.any(String) }, { name: expect.any(String) }],
      likes: 2,
      settings: { one: true, two: true },
    });
  });
});

describe("writes outside the declared fields", () => {
  const inFields = (edit: (map: LoroMap) => void) => (doc: LoroDoc) => edit(doc.getMap("fields"));
  test.each<[string, (doc: LoroDoc) => void, string, string, string]>([
    [
      "an undeclared root",
      (doc) => doc.getText("other").insert(0, "x"),
      "other",
      "a declared field",
      "a text container",
    ],
    ["a root of another type", (doc) => doc.getList("body").push("x"), "body", "a text container", "a list container"],
    [
      "a scalar as a root",
      (doc) => doc.getText("title").insert(0, "x"),
      "title",
      "a string in the map fields",
      "a text container",
    ],
    [
      "an undeclared scalar",
      inFields((map) => map.set("other", 1)),
      "other",
      "a declared field",
      "an undeclared one in the map fields",
    ],
    ["a scalar of another type", inFields((map) => map.set("title", 1)), "title", "a string", "the number 1"],
    [
      "infinity",
      inFields((map) => map.set("score", Number.POSITIVE_INFINITY)),
      "score",
      "a finite number",
      "the number Infinity",
    ],
    [
      "a fraction as an integer",
      inFields((map) => map.set("count", 1.5)),
      "count",
      "an integer, or one as a decimal string",
      "the number 1.5",
    ],
    ["text as a boolean", inFields((map) => map.set("done", "yes")), "done", "true or false", 'the string "yes"'],
    [
      "any text as a time",
      inFields((map) => map.set("due", "soon")),
      "due",
      "an ISO 8601 date, or time with its offset",
      'the string "soon"',
    ],
    ["bytes as a string", inFields((map) => map.set("title", new Uint8Array([1]))), "title", "a string", "a list of 1"],
    [
      "a container as a scalar",
      inFields((map) => map.setContainer("extra", new LoroMap())),
      "extra",
      "a JSON value",
      "a map container",
    ],
    [
      "a container field as a scalar",
      inFields((map) => map.set("body", "x")),
      "body",
      "the text container of that name",
      "a value in the map fields",
    ],
    [
      "a child of a scalar",
      inFields((map) => map.ensureMergeableText("extra").insert(0, "x")),
      "fields",
      "a declared container field",
      "a text container inside it",
    ],
    [
      "a counter that is no number any more",
      (doc) => doc.getCounter("likes").increment(Number.NaN),
      "likes",
      "a finite number to add, up to 2^53",
      "NaN",
    ],
    [
      "a counter that twice as much would bring to infinity",
      (doc) => doc.getCounter("likes").increment(1e308),
      "likes",
      "a finite number to add, up to 2^53",
      "1e+308",
    ],
    [
      "a wrong write that lost already",
      (doc) => {
        doc.getMap("fields").set("title", 1);
        doc.getMap("fields").set("title", "right");
      },
      "title",
      "a string",
      "the number 1",
    ],
  ])("%s is refused, naming what was expected and what came", async (_name, edit, field, expected, got) => {
    const { id, take, patch } = await open();
    const { update } = await patch({ title: "kept", body: "kept" });
    await expect(take(madeBy(edit))).rejects.toMatchObject({
      code: "PE422",
      detail: { table: "notes", field, expected, got, dropped: true },
    });
    await expect(projection(engine, id)).rejects.toSatisfy(isNotLoaded);
    await engine.call(id, "load", [id, notes, null, [update ?? new Uint8Array()]]);
    expect(await projection(engine, id)).toMatchObject({ title: "kept", body: "kept", count: null });
  });

  test("a place among siblings beside which the next node would trap is refused", async () => {
    const { take } = await open();
    const update = madeBy((doc) => {
      doc.setPeerId("5");
      doc.getTree("outline").createNode();
    });
    // The one place of this update, 0x80 after its length.
    const at = update.findLastIndex((byte, index) => byte === 0x80 && update[index - 1] === 1);
    expect(at).toBeGreaterThan(22);
    const forged = new Uint8Array(update);
    forged[at] = 0xff;
    await expect(take(repairChecksum(forged))).rejects.toMatchObject({
      code: "PE422",
      message: expect.stringContaining("places a tree node at FF"),
    });
    const jittered = madeBy((doc) => {
      doc.getTree("outline").enableFractionalIndex(4);
      for (let index = 0; index < 5; index++) doc.getTree("outline").createNode();
    });
    const other = await open();
    await expect(other.take(jittered)).rejects.toMatchObject({ code: "PE422" });
  });

  test("numbers that JSON lacks, and bytes inside a list, are projected as JSON has them", async () => {
    const { take, read } = await open();
    await take(
      madeBy((doc) => {
        doc.getList("tags").push(new Uint8Array([1, 255]));
        doc.getList("tags").push(Number.NaN);
        doc.getText("body").insert(0, "a\u0000b");
      }),
    );
    expect(await read()).toMatchObject({ tags: [[1, 255], null], body: "a\ufffdb" });
  });

  test("an integer beyond 2^53 is taken when it is exact, and refused when it would change", async () => {
    const { take, read } = await open();
    const update = madeBy((doc) => {
      doc.setPeerId("5");
      doc.getMap("fields").set("count", 2 ** 53);
    });
    await take(update);
    expect(await read()).toMatchObject({ count: "9007199254740992" });
    expect(await take(update)).toMatchObject({ changed: false });
    // As a client in another language writes it: 2^53 + 1, one bit more in the signed LEB128.
    const at = update.findIndex((byte, index) => byte === 0x80 && update[index + 7] === 0x10);
    expect(at).toBeGreaterThan(22);
    const inexact = new Uint8Array(update);
    inexact[at] = 0x81;
    const document = await open();
    await expect(document.take(repairChecksum(inexact))).rejects.toMatchObject({
      code: "PE422",
      detail: { got: "9007199254740993" },
    });
  });
});

describe("an integer beyond 2^53", () => {
  test.each(["count", "score", "extra"])(
    "in the field %s is no reason to refuse what comes with it, or again with it",
    async (field) => {
      const { take, read } = await open();
      const doc = new LoroDoc();
      doc.getMap("fields").set(field, 2 ** 60);
      doc.commit();
      expect(await take(doc.export({ mode: "update" }))).toMatchObject({ changed: true });
      doc.getText("body").insert(0, "more");
      doc.commit();
      expect(await take(doc.export({ mode: "update" }))).toMatchObject({ changed: true, forked: false });
      expect(await read()).toMatchObject({ [field]: field === "score" ? 2 ** 60 : String(2n ** 60n), body: "more" });
    },
  );

  test("tells another's operation of the same name from it", async () => {
    const { take } = await open();
    const made = (value: number, more: string) =>
      madeBy((doc) => {
        doc.setPeerId("5");
        doc.getMap("fields").set("count", value);
        doc.commit();
        doc.getText("body").insert(0, more);
      });
    await take(made(2 ** 60, ""));
    await expect(take(made(2 ** 61, "more"))).rejects.toMatchObject({ code: "PE422", detail: { peer: "5" } });
  });
});

describe("too much of it", () => {
  const nested = (levels: number, edit: (doc: LoroDoc, levels: number) => void) => madeBy((doc) => edit(doc, levels));
  /** How deep: where Loro itself takes the square of it to make one, fewer. */
  const shapes: [string, number, (doc: LoroDoc, levels: number) => void][] = [
    [
      "values",
      1_000,
      (doc, levels) => {
        let value: unknown = 1;
        for (let level = 0; level < levels; level++) value = [value];
        doc.getMap("fields").set("extra", value as string);
      },
    ],
    [
      "values in a list",
      1_000,
      (doc, levels) => {
        let value: unknown = 1;
        for (let level = 0; level < levels; level++) value = { a: value };
        doc.getList("tags").push(value as string);
      },
    ],
    [
      "containers",
      1_000,
      (doc, levels) => {
        let list = doc.getList("tags") as LoroList;
        for (let level = 0; level < levels; level++) list = list.insertContainer(0, new LoroList());
        list.push(1);
      },
    ],
    [
      "children of maps",
      300,
      (doc, levels) => {
        let map = doc.getMap("settings") as LoroMap;
        for (let level = 0; level < levels; level++) map = map.ensureMergeableMap("a");
        map.set("b", 1);
      },
    ],
    [
      "tree nodes",
      1_000,
      (doc, levels) => {
        let node = doc.getTree("outline").createNode();
        for (let level = 0; level < levels; level++) node = node.createNode();
      },
    ],
  ];
  test.each(shapes)("%s nested %i deep are refused, 50 deep are taken", async (_name, levels, edit) => {
    const { take, read } = await open();
    const { replaced } = engine.stats();
    await expect(take(nested(levels, edit))).rejects.toMatchObject({
      code: "PE413",
      detail: { limit: "depth", max: 100 },
    });
    expect(engine.stats().replaced).toBe(replaced);
    const other = await open();
    await other.take(nested(50, edit));
    expect(JSON.stringify(await other.read())).not.toBe(JSON.stringify(await read().catch(() => null)));
  });

  test("a subtree may not be moved below the limit", async () => {
    const { take } = await open();
    const doc = new LoroDoc();
    const tree = doc.getTree("outline");
    const chain = (length: number) => {
      const top = tree.createNode();
      let bottom = top;
      for (let index = 1; index < length; index++) bottom = bottom.createNode();
      return { top, bottom };
    };
    const [upper, lower] = [chain(60), chain(60)];
    doc.commit();
    await take(doc.export({ mode: "update" }));
    const from = doc.oplogVersion();
    lower.top.move(upper.bottom);
    doc.commit();
    await expect(take(doc.export({ mode: "update", from }))).rejects.toMatchObject({
      code: "PE413",
      detail: { limit: "depth", field: "outline" },
    });
  });

  test("a few kilobytes that unpack to millions of operations are refused before the document has them", async () => {
    const { id, take } = await open();
    const bomb = madeBy((doc) => doc.getText("body").insert(0, "a".repeat(3_000_000)), "snapshot");
    expect(bomb.length).toBeLessThan(50_000);
    await expect(take(bomb)).rejects.toMatchObject({ code: "PE413", detail: { limit: "update_ops", got: 3_000_000 } });
    expect(await engine.call(id, "has", [id])).toBe(true);
    const deletions = new LoroDoc();
    deletions.getText("body").insert(0, "a".repeat(2_100_000));
    deletions.commit();
    const from = deletions.oplogVersion();
    deletions.getText("body").delete(0, 2_100_000);
    deletions.commit();
    await expect(take(deletions.export({ mode: "update", from }))).rejects.toMatchObject({ code: "PE422" });
  });

  test("what asks for more memory than a thread may have costs the thread, not the process", async () => {
    const small = createDocumentEngine({ threads: 1, limits: { wasmBytes: 32 * 2 ** 20 } });
    try {
      await openDocument(small, "a");
      const bomb = madeBy((doc) => doc.getMap("fields").set("title", "b".repeat(20_000_000)), "snapshot");
      expect(bomb.length).toBeLessThan(200_000);
      await expect(small.call("a", "import", ["a", [bomb]])).rejects.toMatchObject({
        code: "PE422",
        detail: { reason: "trapped" },
      });
      await openDocument(small, "a");
      expect(await projection(small, "a")).toMatchObject({ title: null });
    } finally {
      await small.close();
    }
  });

  test("what takes longer than a call may is cut off, and the next call served", async () => {
    const hasty = createDocumentEngine({ threads: 1 });
    try {
      await openDocument(hasty, "a");
      const heavy = madeBy((doc) => {
        const list = doc.getMovableList("cards");
        for (let index = 0; index < 60_000; index++) list.insert(Math.floor(index / 2), index);
      });
      await hasty.call("a", "patch", ["a", { title: "x", cards: [1] }, "head"]);
      // Of this call alone: what comes before and behind it has the usual time, which is longer than a slow machine takes.
      await expect(hasty.call("a", "import", ["a", [heavy]], { timeoutMs: 100 })).rejects.toMatchObject({
        code: "PE422",
        message: expect.stringContaining("100 ms"),
        detail: { reason: "timed out" },
      });
      await openDocument(hasty, "a");
      expect(await projection(hasty, "a")).toMatchObject({ title: null });
    } finally {
      await hasty.close();
    }
  });
});

describe("what a thread keeps", () => {
  test("is bounded by number and by size; the least recently used goes first, and is asked for again", async () => {
    const small = createDocumentEngine({ threads: 1, limits: { cachedDocuments: 10, cachedBytes: 3_000_000 } });
    try {
      for (let index = 0; index < 50; index++) await openDocument(small, `${index}`);
      await projection(small, "40");
      await openDocument(small, "50");
      expect(await small.call("a", "stats", [])).toMatchObject({ documents: 10 });
      expect(await small.call("a", "has", ["40"])).toBe(true);
      expect(await small.call("a", "has", ["41"])).toBe(false);
      await expect(projection(small, "3")).rejects.toSatisfy(isNotLoaded);
      for (let index = 0; index < 20; index++) {
        await openDocument(small, `large ${index}`);
        await small.call("a", "patch", [`large ${index}`, { body: "word ".repeat(20_000) }, "head"]);
      }
      const { documents, estimatedBytes } = await small.call("a", "stats", []);
      expect(documents).toBeLessThan(5);
      expect(estimatedBytes).toBeLessThanOrEqual(3_000_000);
    } finally {
      await small.close();
    }
  });

  test("does not grow, however many documents pass through it", async () => {
    const small = createDocumentEngine({ threads: 1, limits: { cachedDocuments: 5 } });
    try {
      const body = madeBy((doc) => doc.getText("body").insert(0, "some words ".repeat(5_000)), "snapshot");
      const pass = async (from: number, count: number) => {
        for (let index = from; index < from + count; index++) {
          await small.call("a", "load", [`${index}`, notes, body, []]);
          await small.call("a", "patch", [`${index}`, { title: `${index}` }, "head"]);
          await projection(small, `${index}`);
        }
        return small.stats().memoryBytes;
      };
      const early = await pass(0, 100);
      expect(await pass(100, 400)).toBeLessThan(early * 1.5);
    } finally {
      await small.close();
    }
  });

  test("a refused update leaves nothing of itself behind, and a trap is told from a refusal", async () => {
    const random = seededRandom(3);
    const { id, take, patch } = await open();
    const { update } = await patch({ body: "hello", tags: [1, 2, 3] });
    const stored = [update ?? new Uint8Array()];
    const forger = new LoroDoc();
    forger.import(stored[0] ?? new Uint8Array());
    const from = forger.oplogVersion();
    forger.getText("body").insert(2, "evil");
    forger.getList("tags").insertContainer(1, new LoroText()).insert(0, "evil");
    forger.commit();
    const honest = forger.export({ mode: "update", from });
    for (let round = 0; round < 100; round++) {
      const error: unknown = await take(corrupt(honest, random)).catch((caught: unknown) => caught);
      const { dropped, reason } = (error as { detail?: { dropped?: boolean; reason?: string } }).detail ?? {};
      const lost = !(error instanceof Error) || dropped === true || reason === "trapped";
      // What was not dropped is untouched; what was is built again from what is stored.
      expect(await engine.call(id, "has", [id])).toBe(!(error instanceof Error) || !lost);
      if (lost) await engine.call(id, "load", [id, notes, null, stored]);
      expect(await projection(engine, id)).toMatchObject({ body: "hello", tags: [1, 2, 3] });
    }
  });

  test("what authors wrote under names that others had taken is kept as far as it can be merged in good time", async () => {
    const author = (text: string) => {
      const doc = new LoroDoc();
      doc.setPeerId("7");
      doc.getText("body").insert(0, text);
      doc.commit();
      return doc.export({ mode: "update" });
    };
    await engine.call("apart", "load", ["apart", notes, null, []]);
    const take = (update: Uint8Array) => engine.call("apart", "import", ["apart", [update], { own: ["7"] }]);
    await take(author("theirs"));
    const { replaced } = engine.stats();
    await expect(take(author("m".repeat(300_000)))).rejects.toMatchObject({
      code: "PE413",
      detail: { limit: "fork_bytes", max: 2 ** 18 },
    });
    // Nothing was touched, and no thread lost.
    expect(await projection(engine, "apart")).toMatchObject({ body: "theirs" });
    expect(engine.stats().replaced).toBe(replaced);
    expect(await take(author("m".repeat(100_000)))).toMatchObject({ forked: true });
    await engine.call("apart", "drop", ["apart"]);
  });

  test("what authors wrote under names that others had taken counts as memory, and is bounded", async () => {
    const small = createDocumentEngine({ threads: 1, limits: { documentBytes: 60_000 } });
    try {
      await small.call("d", "load", ["d", notes, null, []]);
      const from = (text: string, extra = "") => {
        const doc = new LoroDoc();
        doc.setPeerId("7");
        doc.getText("body").insert(0, text);
        doc.getText("body").insert(0, extra);
        doc.getText("body").delete(0, extra.length);
        doc.commit();
        return doc;
      };
      const take = (update: Uint8Array) => small.call("d", "import", ["d", [update], { own: ["7"] }]);
      await take(from("theirs").export({ mode: "update" }));
      const memory = async () => (await small.call("d", "stats", [])).estimatedBytes;
      const before = await memory();
      const twin = from("mine", randomBytes(8_000).toString("hex"));
      const apart = await take(twin.export({ mode: "update" }));
      expect(apart).toMatchObject({ forked: true });
      const shown = 10 * (apart.updates?.[0]?.length ?? 0);
      expect(await memory()).toBeGreaterThan(before + shown + 7_500);
      let version = twin.oplogVersion();
      const goOn = () => {
        twin.getText("body").insert(0, randomBytes(8_000).toString("hex"));
        twin.getText("body").delete(0, 16_000);
        twin.commit();
        const update = twin.export({ mode: "update", from: version });
        version = twin.oplogVersion();
        return take(update);
      };
      const rest = async () => {
        for (let nth = 0; nth < 10; nth++) await goOn();
      };
      await expect(rest()).rejects.toMatchObject({ code: "PE413", detail: { limit: "document_bytes" } });
    } finally {
      await small.close();
    }
  });
});
