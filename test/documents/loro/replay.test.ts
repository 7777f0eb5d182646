import { LoroDoc } from "loro-crdt";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { type ConcurrentTrace, concurrentTrace } from "../../support/traces.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());

/** The updates of every transaction, each made on a document that holds exactly the transaction's parents. */
function* replay(trace: ConcurrentTrace): Generator<{ agent: number; update: Uint8Array }, string> {
  const docs = Array.from({ length: trace.numAgents }, (_, agent) => {
    const doc = new LoroDoc();
    doc.setPeerId(String(agent + 1) as `${number}`);
    return doc;
  });
  const made: { agent: number; update: Uint8Array }[] = [];
  /** Per author, how many transactions of the other are in their document. */
  const has = docs.map(() => new Set<number>());
  for (const [index, { parents, agent, patches }] of trace.txns.slice(0, replayed).entries()) {
    const doc = docs[agent];
    const mine = has[agent];
    if (!doc || !mine) throw new Error("no such author");
    const missing: number[] = [];
    const look = [...parents];
    for (let parent = look.pop(); parent !== undefined; parent = look.pop()) {
      if (mine.has(parent)) continue;
      mine.add(parent);
      missing.push(parent);
      look.push(...(trace.txns[parent]?.parents ?? []));
    }
    for (const parent of missing.sort((a, b) => a - b)) doc.import(made[parent]?.update ?? new Uint8Array());
    const text = doc.getText("body");
    const from = doc.oplogVersion();
    for (const [position, deleted, inserted] of patches) {
      const start = text.convertPos(position, "unicode", "utf16") as number;
      const end = text.convertPos(position + deleted, "unicode", "utf16") as number;
      text.splice(start, end - start, inserted);
    }
    doc.commit();
    const update = doc.export({ mode: "update", from });
    from.free();
    mine.add(index);
    made.push({ agent, update });
    yield { agent, update };
  }
  const [first = new LoroDoc()] = docs;
  for (const { update } of made) first.import(update);
  return first.getText("body").toString();
}

/** Of the whole session, which scripts/demo replays; its end is tested with that (test/end-to-end/main-job.test.ts). */
const replayed = 8_000;
/** So many are imported each by itself, the others as live documents do when they come faster than that: by the run of one author. */
const single = 1_000;
const longestRun = 64;

describe("a recorded session of two authors", () => {
  test("typed through the engine update by update, and then by runs, gives the text that must result", async () => {
    const trace = concurrentTrace();
    await engine.call("a", "load", ["a", { table: "notes", fields: { title: "string", body: "text" } }, null, []]);
    let updates: Uint8Array[] = [];
    let by = 0;
    let runs = 0;
    let count = 0;
    async function send(): Promise<void> {
      const run = updates;
      updates = [];
      if (run.length === 0) return;
      const taken = await engine.call("a", "importRun", ["a", run.map((update) => [update])]);
      if (taken.ends !== null) runs++;
      // What is no plain continuation is imported one by one, as ever.
      if (taken.ends === null) for (const update of run) await engine.call("a", "import", ["a", [update]]);
    }
    const session = replay(trace);
    let next = session.next();
    for (; !next.done; next = session.next()) {
      const { agent, update } = next.value;
      if (agent !== by || updates.length === longestRun) await send();
      by = agent;
      if (count++ < single) await engine.call("a", "import", ["a", [update]]);
      else updates.push(update);
    }
    await send();
    const text = next.value;
    // Enough of either.
    expect(count).toBeGreaterThan(single);
    expect(runs).toBeGreaterThan(10);
    const { data } = await engine.call("a", "project", ["a"]);
    expect(data).toEqual({ title: null, body: text });

    const { snapshot, version } = await engine.call("a", "snapshot", ["a"]);
    const copy = LoroDoc.fromSnapshot(snapshot);
    expect(copy.getText("body").toString()).toBe(text);
    expect(await engine.call("a", "exportFrom", ["a", version])).toMatchObject({ updates: [] });
    const exported = await engine.call("a", "exportFrom", ["a", new Uint8Array([0])]);
    const reader = new LoroDoc();
    reader.importBatch(exported.updates);
    expect(reader.getText("body").toString()).toBe(text);
  });
});
