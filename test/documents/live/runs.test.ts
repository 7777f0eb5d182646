import fc from "fast-check";
import { LoroDoc } from "loro-crdt";
import { beforeAll, expect, it } from "vitest";
import type { Database } from "../../../src/database/types.js";
import type { DocumentEngine } from "../../../src/documents/loro/engine.js";
import { describeBothKinds, type TestDatabase } from "../../support/databases.js";
import {
  ada,
  type Client,
  connect,
  countingEngine,
  declare,
  eventually,
  freshId,
  keyOf,
  type Node,
  pause,
  startNode,
  storedEnds,
  storedText,
  typed,
} from "./support.js";

const ben = { userId: "ben", writableSpaceIds: ["~ada"] };

/** One that is in the engine, with nothing under way. */
async function warmDocument(node: Node): Promise<Client> {
  const client = await connect(node, keyOf(freshId()));
  await client.type("_");
  await client.document.exclusive(() => Promise.resolve());
  return client;
}

/** Something to wait at until it is released. */
function gate() {
  let release = (): void => undefined;
  const open = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { open, release, waitedFor: false };
}

/** What was written so far may be handed on by others. */
const longAgo = ({ db }: TestDatabase) =>
  db.query("update perch.document_updates set created_at = created_at - interval '2 minutes'");

const forged = Uint8Array.of(1, 2, 3, 4);

/** An engine that answers what it is asked to import within a tenth of a second in one moment, in order, at its end. */
function answeringInWaves(): DocumentEngine {
  const { engine } = countingEngine();
  let wave: Promise<void> | undefined;
  const call: DocumentEngine["call"] = (key, method, args, options) => {
    const answer = engine.call(key, method, args, options);
    if (method !== "import" && method !== "importRun") return answer;
    wave ??= pause(100).then(() => {
      wave = undefined;
    });
    return Promise.allSettled([answer, wave]).then(() => answer);
  };
  return { ...engine, call };
}

describeBothKinds("what one author sends faster than it is taken in", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
  });

  it("is imported by the run, and stored update by update", async () => {
    const { engine, calls } = countingEngine();
    const node = await startNode(t, { engine });
    const reader = await connect(node, keyOf(freshId()), { userId: "ben" });
    const session = typed("x".repeat(300));
    // While somebody has the document to themselves all of it comes in; else how it is cut goes by how fast it comes.
    const { open: held, release } = gate();
    const holding = reader.document.exclusive(() => held);
    const appending = Promise.all(session.updates.map((update) => reader.document.append([update], ada, undefined)));
    await pause(500);
    release();
    const [results] = await Promise.all([appending, holding]);
    expect(results.map(({ seq }) => seq)).toEqual(session.updates.map((_, index) => index + 1));
    expect((calls.import ?? 0) + (calls.importRun ?? 0)).toBeLessThan(30);
    expect(reader.text()).toBe("x".repeat(300));
    expect(await storedText(node.db, reader.document.key)).toBe("x".repeat(300));
    expect((await storedEnds(node.db, reader.document.key)).map((ends) => ends[session.peer])).toEqual(
      session.updates.map((_, index) => index + 1),
    );
  });

  it("is answered one by one when some of it is refused", async () => {
    const node = await startNode(t);
    const reader = await connect(node, keyOf(freshId()));
    const session = typed("abcdefghijklmnopqrstuvwxyz");
    const sent = session.updates.flatMap((update, index) => (index % 10 === 5 ? [forged, update] : [update]));
    const results = await Promise.allSettled(sent.map((update) => reader.document.append([update], ada, undefined)));
    expect(results.map(({ status }) => status === "rejected")).toEqual(sent.map((update) => update === forged));
    expect(await storedText(node.db, reader.document.key)).toBe("abcdefghijklmnopqrstuvwxyz");
    expect(reader.text()).toBe("abcdefghijklmnopqrstuvwxyz");
  });

  it("nothing of it is taken that comes before what it builds on", async () => {
    const node = await startNode(t);
    const client = await connect(node, keyOf(freshId()));
    const { updates } = typed("abc");
    const [first, second, third] = updates as [Uint8Array, Uint8Array, Uint8Array];
    // The copy is busy with one, so that the others wait together.
    const own = client.type("_");
    const results = await Promise.allSettled(
      [first, third, second].map((update) => client.document.append([update], ada, undefined)),
    );
    await own;
    const [, early, base] = results.map((result) => (result.status === "fulfilled" ? result.value.seq : undefined));
    expect(results[0]?.status).toBe("fulfilled");
    // Refused; or, when it was tried again, what it builds on had been stored meanwhile.
    expect(early ?? Number.POSITIVE_INFINITY).toBeGreaterThan(base ?? Number.NaN);
    // Throws when something stored lacks its base.
    expect((await storedText(node.db, client.document.key)).length).toBe(early === undefined ? 3 : 4);
  });

  it("is answered to the last when the copy was let go of behind what was known already", async () => {
    const node = await startNode(t);
    const { document } = await warmDocument(node);
    const { updates } = typed("abc");
    const [first, , third] = updates as [Uint8Array, Uint8Array, Uint8Array];
    // Committed, and not answered yet: whatever the copy lacks might be in the database.
    const held = node.db.hold(/append_updates/, "after");
    const taken = document.append([first], ada, undefined);
    await held;
    await longAgo(t);
    node.db.counted();
    const later = Promise.allSettled([
      document.append([first], ben, undefined),
      document.append([third], ben, undefined),
    ]);
    // It looked there, and let go of the copy.
    await eventually(() => (node.db.counted().open_document ?? 0) > 0);
    await eventually(() => node.live.stats().warm === 0);
    node.db.go();
    const { seq } = await taken;
    expect(await later).toMatchObject([
      { status: "fulfilled", value: { seq } },
      { status: "rejected", reason: { code: "PE422" } },
    ]);
  });

  it("loses nothing that was imported behind what is tried again", async () => {
    const node = await startNode(t, { engine: answeringInWaves() });
    const { document } = await warmDocument(node);
    const mine = typed("mmm").updates as [Uint8Array, Uint8Array, Uint8Array];
    const theirs = typed("tttt").updates as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    await document.append([theirs[0]], ben, undefined);
    // The first two are a run, which the second spoils, and the three behind it are under way. What waits may overtake those that are tried
    // again; by the time it is answered, all that was taken is stored, and it looks in vain whether the database has what it lacks.
    const sent: [Uint8Array, typeof ada][] = [
      [mine[0], ada],
      [forged, ada],
      [theirs[1], ben],
      [mine[1], ada],
      [theirs[2], ben],
      [mine[2], ada],
      [theirs[3], ben],
    ];
    const sentAll = gate();
    const section = document.exclusive(() => sentAll.open);
    const answers = sent.map(([update, author]) => document.append([update], author, undefined));
    sentAll.release();
    const results = await Promise.allSettled(answers);
    await section;
    expect(results.map(({ status }) => status === "rejected")).toEqual(sent.map(([update]) => update === forged));
    expect(await storedText(node.db, document.key)).toHaveLength(8);
  });

  it("is refused only when it is known what becomes of what came before", async () => {
    const [base, middle, last] = typed("abc").updates as [Uint8Array, Uint8Array, Uint8Array];
    const { engine: inner } = countingEngine();
    const answersToLast = gate();
    const call: DocumentEngine["call"] = (key, method, args, options) => {
      const answer = inner.call(key, method, args, options);
      const late = method === "import" && (args[1] as Uint8Array[])[0] === last;
      return late ? Promise.allSettled([answer, answersToLast.open]).then(() => answer) : answer;
    };
    const worker = await t.login("perch_worker");
    const looks = gate();
    let looked = 0;
    const query: Database["query"] = async (sql, params, options) => {
      const rows = await worker.query(sql, params, options);
      if (looks.waitedFor && sql.includes("open_document") && looked++ === 0) await looks.open;
      return rows as never;
    };
    const elsewhere = await startNode(t);
    const node = await startNode(t, { engine: { ...inner, call }, db: { ...worker, query } });
    const { document } = await warmDocument(node);
    await (await connect(elsewhere, document.key)).document.append([base], ada, undefined);
    await longAgo(t);

    // The middle lacks what the other node has: it looks, and is slow to hear that there is something. The last lacks the middle.
    const held = node.db.hold(/append_updates/, "before");
    const own = document.append([typed("z").updates[0] as Uint8Array], ada, undefined);
    await held;
    looks.waitedFor = true;
    const results = Promise.allSettled([
      document.append([middle], ben, undefined),
      document.append([last], { ...ben, userId: "cleo" }, undefined),
    ]);
    await eventually(() => looked === 1);
    // The answer to the append brings what the other node has. Who looks now finds nothing new.
    node.db.go();
    await own;
    answersToLast.release();
    // The last has its answer. Were it judged without the middle, it would look at once: before another statement has come and gone.
    await node.db.query("select");
    expect(looked).toBe(1);
    looks.release();
    expect((await results).map(({ status }) => status)).toEqual(["fulfilled", "fulfilled"]);
    expect(await storedText(node.db, document.key)).toHaveLength(5);
  });

  it("converges whatever is mixed into it", async () => {
    const node = await startNode(t);
    const kinds = fc.constantFrom("next", "again", "ahead", "forged", "pair", "other author");
    await fc.assert(
      fc.asyncProperty(fc.array(kinds, { minLength: 2, maxLength: 25 }), async (steps) => {
        const reader = await connect(node, keyOf(freshId()), { userId: "cleo" });
        const mine = typed("m".repeat(60)).updates;
        const theirs = typed("t".repeat(60)).updates;
        let [at, other] = [0, 0];
        const taken = new LoroDoc();
        const next = () => mine[at++] ?? forged;
        const sent = steps.map((kind): { updates: Uint8Array[]; author: string; good: boolean | undefined } => {
          const own = (updates: Uint8Array[], good = true) => ({ updates, author: "ada", good });
          if (kind === "next") return own([next()]);
          if (kind === "pair") return own([next(), next()]);
          if (kind === "again") return own([mine[Math.max(0, at - 1)] ?? forged], at > 0);
          // Refused, or answered once what it builds on was taken in after all.
          if (kind === "ahead") return { ...own([mine[at + 1] ?? forged]), good: undefined };
          if (kind === "forged") return own([forged], false);
          return { updates: [theirs[other++] ?? forged], author: "ben", good: true };
        });
        // "again" before anything was typed is the first letter itself: leave it out.
        const sending = sent.filter(({ updates, good }) => good !== false || updates[0] !== mine[0]);
        const results = await Promise.allSettled(
          sending.map(({ updates, author }) =>
            reader.document.append(updates, { userId: author, writableSpaceIds: ["~ada"] }, undefined),
          ),
        );
        for (const [index, { updates, good }] of sending.entries()) {
          const accepted = results[index]?.status === "fulfilled";
          if (good !== undefined) expect(accepted, JSON.stringify([index, results[index]])).toBe(good);
          if (accepted) for (const update of updates) taken.import(update);
        }
        expect(reader.text()).toBe(taken.getText("body").toString());
        expect(await storedText(node.db, reader.document.key)).toBe(reader.text());
        reader.leave();
      }),
      { numRuns: 25 },
    );
  });
});
