/** An update whose headers say what is not so: whichever way it comes, what is stored and passed on is what Loro makes of it. */
import { LoroDoc } from "loro-crdt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDocumentEngine } from "../../src/documents/loro/engine.js";
import { DocumentStore } from "../../src/documents/store/store.js";
import { withContext } from "../../src/identity/index.js";
import { postgres, type TestDatabase } from "../support/databases.js";
import { inbox, pushUpdate, startWorkerNode } from "../worker/support.js";
import { ada, connect, countingEngine, declare, eventually, freshId, keyOf, startNode } from "./live/support.js";
import { repairChecksum } from "./loro/support/corrupt.js";

const fields = { body: "text", cards: "movable_list" } as const;
const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

/** An update, one that follows it and was forged, and what an engine makes of that: other bytes with the same operations. */
async function forgery(): Promise<{ base: Uint8Array; forged: Uint8Array; made: string }> {
  const author = new LoroDoc();
  author.setPeerId("7");
  author.getMovableList("cards").push("a");
  author.getText("body").insert(0, "hello");
  author.commit();
  const base = author.export({ mode: "update" });
  const writer = new LoroDoc();
  writer.setPeerId("9");
  writer.import(base);
  const from = writer.version();
  writer.getMovableList("cards").set(0, "A");
  writer.getText("body").insert(5, " there");
  writer.commit();
  const honest = writer.export({ mode: "update", from });
  for (let at = 22; at < honest.length; at++) {
    const forged = new Uint8Array(honest);
    forged[at] = ((forged[at] ?? 0) + 4) & 255;
    repairChecksum(forged);
    const id = `forged ${at}`;
    await engine.call(id, "load", [id, { table: "pages", fields }, null, [base]]);
    const taken = await engine.call(id, "import", [id, [forged]]).catch(() => undefined);
    const [made] = taken?.updates ?? [];
    if (made === undefined) continue;
    // Some are no part of several at once: they are tried alone then.
    const other = `${id} again`;
    await engine.call(other, "load", [other, { table: "pages", fields }, null, [base]]);
    const run = await engine.call(other, "importRun", [other, [[forged]]]).catch(() => undefined);
    if (run?.updates[0]) return { base, forged, made: hex(made) };
  }
  throw new Error("no header of it can say what is not so");
}

describe("an update that says of itself what is not so", () => {
  const open = postgres(18);
  let t: TestDatabase;
  let sent: Awaited<ReturnType<typeof forgery>>;
  beforeAll(async () => {
    t = await open();
    await declare(t, fields);
    sent = await forgery();
  });

  const stored = async (recordId: string) => {
    const rows = await t.db.query<{ payload: Uint8Array }>(
      "select payload from perch.document_updates where record_id = $1 order by seq",
      [recordId],
    );
    return rows.map(({ payload }) => hex(payload));
  };

  it("is stored as it was made, and so passed on, when it is sent alone", async () => {
    const node = await startNode(t);
    const key = keyOf(freshId());
    const reader = await connect(node, key, { userId: "ben" });
    await reader.document.append([sent.base], ada, undefined);
    await reader.document.append([sent.forged], ada, undefined);
    expect(await stored(key.recordId)).toEqual([hex(sent.base), sent.made]);
    expect(reader.heard.flatMap(({ updates }) => updates.map(hex))).toEqual([hex(sent.base), sent.made]);
  });

  it("is so when it comes with others at once", async () => {
    const counting = countingEngine();
    const node = await startNode(t, { engine: counting.engine });
    const key = keyOf(freshId());
    const reader = await connect(node, key, { userId: "ben" });
    await reader.document.append([sent.base], ada, undefined);
    // The replica is busy with the first, so that the others wait together.
    const other = new LoroDoc();
    other.import(sent.base);
    other.setPeerId("8");
    const cards = Array.from({ length: 60 }, (_, n) => {
      const from = other.version();
      other.getMovableList("cards").push(`${n}`);
      other.commit();
      return other.export({ mode: "update", from });
    });
    const together = [...cards.slice(0, 30), sent.forged, ...cards.slice(30)];
    await Promise.all(together.map((update) => reader.document.append([update], ada, undefined)));
    expect(counting.calls.importRun).toBeGreaterThan(0);
    expect((await stored(key.recordId)).sort()).toEqual([hex(sent.base), ...cards.map(hex), sent.made].sort());
    expect(reader.heard.flatMap(({ updates }) => updates.map(hex))).toContain(sent.made);
  });

  it("is so when SQL pushes it", async () => {
    await startWorkerNode(t);
    const key = keyOf(freshId());
    await t.asUser("ada", (tx) => pushUpdate(tx, key, sent.base));
    await t.asUser("ada", (tx) => pushUpdate(tx, key, sent.forged));
    await eventually(async () => (await stored(key.recordId)).length === 2);
    expect(await stored(key.recordId)).toEqual([hex(sent.base), sent.made]);
    expect(await inbox(t.db)).toEqual([]);
  });

  it("is so when a store writes it", async () => {
    const store = new DocumentStore({ engine });
    const app = await t.login("perch_app");
    const [login] = await app.query<{ name: string }>("select session_user::text as name");
    await t.db.query(`grant perch_worker to ${login?.name}`);
    const recordId = freshId();
    const page = { appId: "notes", tableName: "pages", recordId };
    for (const update of [sent.base, sent.forged])
      await withContext(app, { userId: "ada" }, (tx) => store.applyUpdate(tx, page, update));
    expect(await stored(recordId)).toEqual([hex(sent.base), sent.made]);
  });
});
