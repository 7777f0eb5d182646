import { decodeImportBlobMeta, LoroDoc, type LoroText } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { goesOn, type Typing, typingAfter } from "../../../src/documents/loro/format/typing.js";
import { seededRandom } from "../../support/traces.js";
import { author, serve } from "./support/author.js";
import { notes, projection } from "./support/client.js";
import { corrupt, repairChecksum } from "./support/corrupt.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());

/** A client, and the updates that it makes. */
function client(base?: LoroDoc): { doc: LoroDoc; body: LoroText; made: Uint8Array[]; last(): Uint8Array } {
  const doc = new LoroDoc();
  if (base) doc.import(base.export({ mode: "update" }));
  const made: Uint8Array[] = [];
  doc.subscribeLocalUpdates((update) => made.push(update));
  return { doc, body: doc.getText("body"), made, last: () => made.at(-1) ?? new Uint8Array() };
}

function insert(typist: ReturnType<typeof client>, at: number, text: string): Uint8Array {
  typist.body.insert(at, text);
  typist.doc.commit();
  return typist.last();
}

/** A document in the engine with these updates, and what it says to another. */
async function judge(id: string, updates: readonly Uint8Array[], next: Uint8Array) {
  await engine.call(id, "load", [id, notes, null, updates]);
  return engine.call(id, "import", [id, [next]]);
}

const texts = ["a", "b", " ", "é", "漢", "🎉", "👩‍👧", "word", "\n", "\0", "x".repeat(100)];

/** Which operations an update has, whatever it names first. */
function contentOf(update: Uint8Array) {
  const {
    partialStartVersionVector: start,
    partialEndVersionVector: end,
    changeNum,
  } = decodeImportBlobMeta(update, true);
  const sorted = (vector: typeof start) => [...vector.toJSON()].sort();
  return { start: sorted(start), end: sorted(end), changeNum };
}

describe("typing", () => {
  test("is recognised wherever it goes on, in every kind of character", () => {
    const typist = client();
    let typing = typingAfter(insert(typist, 0, "first"));
    // Made after nothing, and so unlike what follows.
    expect(typing).toBeUndefined();
    typing = typingAfter(insert(typist, 5, "second"));
    for (const text of texts) {
      const at = typist.body.length;
      expect(typing, text).toBeDefined();
      typing = goesOn(typing as Typing, insert(typist, at, text));
    }
    expect(typing?.length).toBe([..."firstsecond", ...texts.join("")].length);
    expect(typing?.end).toBe(typist.doc.opCount());
    expect(typing?.peer).toBe(typist.doc.peerIdStr);
  });

  test("is recognised after hundreds of thousands of characters, and in a text within another container", () => {
    const typist = client();
    insert(typist, 0, "x".repeat(300_000));
    const typing = typingAfter(insert(typist, 299_999, "y")) as Typing;
    expect(goesOn(typing, insert(typist, 300_000, "z"))).toBeDefined();

    const base = new LoroDoc();
    base.getMap("settings").setContainer("inner", base.getText("body"));
    const other = client(base);
    const inner = other.doc.getMap("settings").get("inner") as LoroText;
    const into = (at: number) => {
      inner.insert(at, "i");
      other.doc.commit();
      return other.last();
    };
    into(0);
    expect(goesOn(typingAfter(into(1)) as Typing, into(2))).toBeDefined();
  });

  test.each<[string, (typist: ReturnType<typeof client>) => void]>([
    ["a deletion", ({ body }) => body.delete(1, 1)],
    ["two insertions", ({ body }) => [body.insert(1, "1"), body.insert(0, "2")]],
    ["a mark", ({ body }) => body.mark({ start: 0, end: 2 }, "bold", true)],
    ["another text", ({ doc }) => doc.getText("other").insert(0, "x")],
    ["a list", ({ doc }) => doc.getList("tags").insert(0, "x")],
    ["a map", ({ doc }) => doc.getMap("fields").set("title", "x")],
    ["a nested container", ({ doc }) => doc.getList("tags").insertContainer(0, doc.getText("body"))],
    ["more than a keystroke", ({ body }) => body.insert(0, "x".repeat(300))],
  ])("is not %s, nor what comes after it", (_name, edit) => {
    const typist = client();
    insert(typist, 0, "hello");
    const typing = typingAfter(insert(typist, 5, "!")) as Typing;
    edit(typist);
    typist.doc.commit();
    expect(goesOn(typing, typist.last())).toBeUndefined();
    expect(goesOn(typing, insert(typist, 0, "."))).toBeUndefined();
  });

  test("is not what was made after somebody else's, with a message, or under another name", () => {
    const [typist, other] = [client(), client()];
    insert(typist, 0, "hello");
    const typing = typingAfter(insert(typist, 5, "!")) as Typing;
    other.doc.import(typist.doc.export({ mode: "update" }));
    insert(other, 0, "other ");
    expect(goesOn(typing, other.last())).toBeUndefined();
    typist.doc.import(other.last());
    expect(goesOn(typing, insert(typist, 6, "?"))).toBeUndefined();
    const again = typingAfter(insert(typist, 7, "?")) as Typing;
    typist.body.insert(8, "?");
    typist.doc.commit({ message: "why" });
    expect(goesOn(again, typist.last())).toBeUndefined();
  });

  test("is not a place beyond the text as far as it is known, nor a number that was used or left out", () => {
    const typist = client();
    insert(typist, 0, "hello world");
    const near = typingAfter(insert(typist, 3, "_")) as Typing;
    const far = insert(typist, 11, "!");
    expect(near.length).toBe(4);
    expect(goesOn(near, far)).toBeUndefined();
    const typing = typingAfter(far) as Typing;
    const next = insert(typist, 12, "a");
    const afterNext = insert(typist, 13, "b");
    expect(goesOn(typing, far)).toBeUndefined();
    expect(goesOn(typing, afterNext)).toBeUndefined();
    expect(goesOn(goesOn(typing, next) as Typing, next)).toBeUndefined();
    expect(goesOn(goesOn(typing, next) as Typing, afterNext)).toBeDefined();
  });

  test("no forged update is taken for it that the engine would refuse, or understand in another way", async () => {
    const random = seededRandom(7);
    const outcomes = { taken: 0, left: 0 };
    let document = 0;
    for (let round = 0; round < 12; round++) {
      const typist = client();
      insert(typist, 0, "x".repeat(1 + Math.floor(random() * 200)));
      insert(typist, 1, texts[round % texts.length] ?? "a");
      const before = insert(typist, 0, "b");
      const typing = typingAfter(before) as Typing;
      const honest = insert(typist, 1, texts[(round * 5) % 10] ?? "a");
      const forgeries = [honest, ...Array.from({ length: 1_500 }, () => corrupt(honest, random))];
      // Every single byte, by one and by its bits.
      for (let at = 22; at < honest.length; at++) {
        for (const change of [1, 2, 4, 8, 16, 32, 64, 128]) {
          const forged = honest.slice();
          forged[at] = (forged[at] ?? 0) ^ change;
          forgeries.push(repairChecksum(forged));
        }
      }
      const tried = new Set<string>();
      for (const forged of forgeries) {
        const name = Buffer.from(forged).toString("base64");
        const next = tried.has(name) ? undefined : goesOn(typing, forged);
        tried.add(name);
        outcomes[next ? "taken" : "left"]++;
        if (!next) continue;
        const id = `forged ${document++}`;
        const stored = typist.made.slice(0, 3);
        const result = await judge(id, stored, forged);
        expect(result.changed).toBe(true);
        expect(result.ends).toEqual({ [next.peer]: next.end });
        const body = String((await projection(engine, id)).body);
        // What is known of the text's length is true.
        expect([...body].length).toBeGreaterThanOrEqual(next.length);
        // Typed bytes merge without being looked at to the same, and can be read afterwards.
        await engine.call(id, "load", [id, notes, null, stored]);
        await engine.call(id, "importChecked", [id, [forged]]);
        expect((await projection(engine, id)).body).toBe(body);
        const { snapshot } = await engine.call(id, "snapshot", [id]);
        expect(LoroDoc.fromSnapshot(snapshot).getText("body").toString().replaceAll("\0", "\ufffd")).toBe(body);
        await engine.call(id, "drop", [id]);
      }
    }
    expect(outcomes.taken).toBeGreaterThan(100);
    expect(outcomes.left).toBeGreaterThan(10_000);
  });

  test("what goes on with a forged update that the engine let in, it lets in as well", async () => {
    const random = seededRandom(11);
    let [taken, document] = [0, 0];
    for (let round = 0; round < 40; round++) {
      const typist = client();
      insert(typist, 0, "x".repeat(70));
      const first = typist.last();
      const before = insert(typist, 1, "b");
      const after = insert(typist, 2, "c");
      for (let at = 22; at < before.length; at++) {
        const byte = Math.floor(random() * 256);
        const [forged, next] = [before, after].map((update) => {
          const copy = update.slice();
          copy[at] = byte;
          return repairChecksum(copy);
        }) as [Uint8Array, Uint8Array];
        const typing = typingAfter(forged);
        for (const goingOn of [after, next]) {
          const end = typing && goesOn(typing, goingOn);
          if (!end) continue;
          const id = `let in ${document++}`;
          const letIn = await judge(id, [first], forged).catch(() => undefined);
          if (!letIn) continue;
          taken++;
          const result = await engine.call(id, "import", [id, [goingOn]]);
          expect(result.ends).toEqual({ [end.peer]: end.end });
          await engine.call(id, "drop", [id]);
        }
      }
    }
    expect(taken).toBeGreaterThan(100);
  }, 240_000);

  test("is all that it is taken for, whoever else edits the document, in any way", async () => {
    const document = serve(engine, "mixed");
    const random = seededRandom(3);
    const others = [author(document, random), author(document, random)];
    const typist = client();
    let typing: Typing | undefined;
    let taken = 0;
    for (let step = 0; step < 600; step++) {
      if (random() < 0.1) await others[step % 2]?.edit();
      // Sees what the others did now and then only.
      if (random() < 0.05) for (const update of document.stored) typist.doc.import(update);
      if (random() < 0.05 && typist.body.length > 0) {
        const last = [...typist.body.toString()].at(-1) ?? "";
        typist.body.delete(typist.body.length - last.length, last.length);
        typist.doc.commit();
        typing = undefined;
        await document.accept(typist.last());
      }
      const characters = [...typist.body.toString()];
      const at = characters.slice(0, Math.floor(random() * (characters.length + 1))).join("").length;
      const update = insert(typist, random() < 0.5 ? typist.body.length : at, texts[step % texts.length] ?? "a");
      const next = typing && goesOn(typing, update);
      // Errors, when it is none.
      await document.accept(update);
      const stored = document.stored.at(-1) ?? new Uint8Array();
      // What builds on several others may name them in any order: Loro keeps heads in no order of its own.
      expect(contentOf(stored)).toEqual(contentOf(update));
      if (next) expect(stored).toEqual(update);
      if (next) taken++;
      typing = next ?? typingAfter(update);
    }
    expect(taken).toBeGreaterThan(200);
  });
});
