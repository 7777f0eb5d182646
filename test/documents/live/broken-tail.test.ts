import { describe, expect, it } from "vitest";
import { examine } from "../../../src/cli/doctor-checks.js";
import type { DocumentEngine } from "../../../src/documents/loro/engine.js";
import { readLiveDocument } from "../../../src/documents/reading.js";
import { DocumentStore } from "../../../src/documents/store/store.js";
import { EngineLost } from "../../../src/engine/engine.js";
import { PerchError } from "../../../src/errors.js";
import { postgres, type TestDatabase } from "../../support/databases.js";
import { lendEngine } from "../../support/engines.js";
import { inbox, patchDocument, record, startWorkerNode } from "../../worker/support.js";
import {
  type Client,
  cleanup,
  connect,
  declare,
  eventually,
  freshId,
  keyOf,
  startNode,
  storedText,
  strangersUpdate,
} from "./support.js";

const open = postgres(18);

const breakings = {
  "an update in the middle was deleted": (t: TestDatabase, recordId: string) =>
    t.db.query("delete from perch.document_updates where record_id = $1 and seq = 3", [recordId]),
  "an update in the middle is garbage": (t: TestDatabase, recordId: string) =>
    t.db.query(
      "update perch.document_updates set payload = 'loro and then something else' where record_id = $1 and seq = 3",
      [recordId],
    ),
};

/** "a" to "d" by one writer and "!" by another, who knows nothing of that, each at a position of its own; the third of five is lost. */
async function broken(how: keyof typeof breakings) {
  const t = await open();
  await declare(t);
  const key = keyOf(freshId());
  const node = await startNode(t);
  const [ada, bob] = [await connect(node, key), await connect(node, key)];
  for (const letter of "abcd") await ada.type(letter);
  const other = strangersUpdate((doc) => doc.getText("body").insert(0, "!"));
  await bob.document.append([other], { userId: "ada" }, undefined);
  await breakings[how](t, key.recordId);
  return { t, key, node, ada, bob };
}

/** What was behind the break is merged again, or set aside. */
const settled = (t: TestDatabase) =>
  eventually(async () => {
    const items = await inbox(t.db);
    return items.length > 0 && items.every(({ status }) => status === "rejected");
  });

const sorted = (text: string) => [...text].sort().join("");

async function rejoinedTexts(
  node: Awaited<ReturnType<typeof startNode>>,
  clients: readonly Client[],
): Promise<string[]> {
  const again: Client[] = [];
  for (const client of clients) {
    client.leave();
    again.push(await connect(node, client.document.key, undefined, client.doc));
  }
  await node.live.refreshAll();
  return again.map((client) => client.text());
}

describe("a document whose tail does not hold together", () => {
  for (const how of Object.keys(breakings) as (keyof typeof breakings)[]) {
    it(`opens at the last position that holds, and keeps what holds by itself, where ${how}`, async () => {
      const { t, key } = await broken(how);
      const logged: object[] = [];
      const node = await startWorkerNode(t, { warn: (details) => logged.push(details) });
      // Who joins is given what is stored, undecoded. The copy is loaded behind that; then the reader is told to join again.
      const reader = await connect(node, key).catch(() => undefined);
      if (reader) await eventually(() => reader.ended());
      await settled(t);
      await eventually(async () => sorted(await storedText(t.db, key)) === "!ab");
      expect(sorted((await connect(node, key)).text())).toBe("!ab");
      // Of one author what comes later builds on what is lost.
      const rejected = await inbox(t.db);
      expect(rejected.map(({ seq }) => seq)).toEqual(how.endsWith("garbage") ? [3, 4] : [4]);
      expect(node.live.stats().brokenTails).toBe(1);
      expect(logged).toMatchObject([{ document: expect.stringContaining(key.recordId), position: 2 }]);
      await eventually(async () => sorted(String((await record(t.db, key))?.body)) === "!ab");
      const findings = (await examine(t.db)).filter(({ name }) => name === "set aside");
      expect(findings).toHaveLength(rejected.length);
      for (const { detail, remedy } of findings) {
        expect(detail).toContain(key.recordId);
        expect(remedy).toContain("perch.retry_update");
      }
    });

    it(`is brought back by those who have what is lost, where ${how}`, async () => {
      const { t, key, node, ada, bob } = await broken(how);
      const other = await startWorkerNode(t);
      // Mended by whoever opens it; the node that has it open knows more than the database from then on.
      expect((await readLiveDocument({ db: t.db, live: other.live }, { userId: "ada" }, key)).data).toMatchObject({
        body: "ab",
      });
      await expect(ada.type("e")).rejects.toMatchObject({ code: "PE410" });
      expect(ada.ended() && bob.ended()).toBe(true);
      const texts = await rejoinedTexts(node, [ada, bob]);
      await eventually(async () => (await storedText(t.db, key)).length === 6);
      expect(sorted(texts[1] ?? "")).toBe("!abcde");
      // What was not set aside before that had nothing new in it.
      await eventually(async () => (await inbox(t.db)).every(({ status }) => status === "rejected"));
    });
  }

  it("is written on by patches, and by a DocumentStore", async () => {
    for (const writer of ["worker", "store"]) {
      const { t, key } = await broken("an update in the middle is garbage");
      const engine = lendEngine();
      cleanup(() => engine.close());
      const store = new DocumentStore({ engine });
      const address = { ...key, spaceId: null };
      if (writer === "worker") {
        await t.asUser("ada", (tx) => patchDocument(tx, key, { title: "goes on" }));
      } else {
        // A reader mends nothing, and reads what holds.
        expect((await t.asUser("ada", (tx) => store.snapshot(tx, address))).seq).toBe(2);
        const written = await t.asUser("ada", (tx) => store.applyPatch(tx, address, { title: "goes on" }));
        expect(written.data).toEqual({ title: "goes on", body: "ab" });
      }
      const node = await startWorkerNode(t);
      await settled(t);
      const { data, seq } = await readLiveDocument({ db: t.db, live: node.live }, { userId: "ada" }, key);
      expect({ ...data, body: sorted(String(data.body)) }).toEqual({ title: "goes on", body: "!ab" });
      const versions = await t.asUser("ada", (tx) => store.versions(tx, address));
      expect(versions[0]?.seq).toBe(seq);
      const [latest] = versions;
      expect(await t.asUser("ada", (tx) => store.at(tx, address, latest?.seq ?? 0))).toEqual(data);
    }
  });

  it("is not what a lost thread or a limit makes of a good one", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    await (await connect(await startNode(t), key)).type("good");
    const inner = lendEngine();
    cleanup(() => inner.close());
    for (const error of [new EngineLost("gone"), new PerchError("PE413", "over a limit"), new Error("out of memory")]) {
      const call: DocumentEngine["call"] = (id, method, args, options) =>
        method === "load" ? Promise.reject(error) : inner.call(id, method, args, options);
      const node = await startNode(t, { engine: { ...inner, call } });
      const document = await node.live.open(key);
      await expect(document.project()).rejects.toBe(error);
      document.release();
    }
    expect(await inbox(t.db)).toEqual([]);
    expect(await storedText(t.db, key)).toBe("good");
  });
});
