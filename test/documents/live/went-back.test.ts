import { describe, expect, it } from "vitest";
import { DocumentStore } from "../../../src/documents/store/store.js";
import { createKeyedMutex } from "../../../src/lib/keyed-mutex.js";
import { foldDocument, projectDocument } from "../../../src/worker/project.js";
import { defaultWorkerSettings } from "../../../src/worker/settings.js";
import { postgres } from "../../support/databases.js";
import { lendEngine } from "../../support/engines.js";
import { startWorkerNode } from "../../worker/support.js";
import {
  type Client,
  cleanup,
  connect,
  declare,
  eventually,
  freshId,
  keyOf,
  type Node,
  rememberDocument,
  startNode,
  storedText,
} from "./support.js";

const open = postgres(18);

/** A document "a" that a client of a node has typed on as "abc", in a database that then went back to "a". */
async function wentBack(seen = "abc") {
  const t = await open();
  await declare(t);
  const key = keyOf(freshId());
  const node = await startNode(t);
  const client = await connect(node, key);
  await client.type("a");
  const goBack = await rememberDocument(t.db, key);
  for (const letter of seen.slice(1)) await client.type(letter);
  await goBack();
  return { t, key, node, client };
}

/** What the official client does when its room ends: it joins with what it has, and sends what the server lacks. */
const rejoin = (node: Node, client: Client) => {
  client.leave();
  return connect(node, client.document.key, undefined, client.doc);
};

describe("a database that went back under a live node", () => {
  it("takes no update whose base it has lost, and gets everything back from the clients", async () => {
    const { t, key, node, client } = await wentBack();
    // Nobody has looked since.
    await expect(client.type("d")).rejects.toMatchObject({ code: "PE410" });
    expect(client.ended()).toBe(true);
    expect(await storedText(node.db, key)).toBe("a");
    const again = await rejoin(node, client);
    await again.type("e");
    const elsewhere = await connect(await startNode(t), key);
    for (const text of [again.text(), elsewhere.text(), await storedText(node.db, key)]) expect(text).toBe("abcde");
  });

  it("is noticed by a look as well", async () => {
    const { node, key, client } = await wentBack();
    await node.live.refreshAll();
    expect(client.ended()).toBe(true);
    expect((await connect(node, key)).text()).toBe("a");
    expect((await rejoin(node, client)).text()).toBe("abc");
    expect(await storedText(node.db, key)).toBe("abc");
  });

  for (const others of ["x", "xy", "xyz"])
    it(`is noticed when it has given the positions to ${others.length} others since, by a write and by a look`, async () => {
      for (const notice of ["write", "look"]) {
        const { t, key, node, client } = await wentBack();
        const two = await startNode(t);
        const other = await connect(two, key);
        for (const letter of others) await other.type(letter, 0);
        if (notice === "write") await expect(client.type("d")).rejects.toMatchObject({ code: "PE410" });
        else await node.live.refreshAll();
        expect(client.ended()).toBe(true);
        const again = await rejoin(node, client);
        await again.type("!");
        await other.document.refresh();
        const stored = await storedText(node.db, key);
        expect([...stored].sort().join("")).toBe(
          [..."abc!", ...(notice === "write" ? "d" : ""), ...others].sort().join(""),
        );
        expect([again.text(), other.text()]).toEqual([stored, stored]);
      }
    });

  it("hears of positions that it gives out again, also by notifications", async () => {
    const { t, key, node, client } = await wentBack();
    await node.live.refreshAll();
    const reader = await connect(node, key);
    const other = await connect(await startNode(t), key);
    const { seq } = await other.type("x");
    node.live.notified(key, seq);
    await expect.poll(() => reader.text()).toBe("ax");
    expect(client.text()).toBe("abc");
  });

  it("keeps what it has where a node would project or fold what it has lost", async () => {
    const { t, key, node, client } = await wentBack();
    const two = await startNode(t);
    const other = await connect(two, key);
    for (const letter of "xyz") await other.type(letter);
    const log = { info: () => undefined, warn: () => undefined };
    const options = {
      db: node.db,
      mutex: createKeyedMutex(),
      log,
      settings: defaultWorkerSettings,
      lockTimeoutMs: 2_000,
    };
    await projectDocument({ ...options, db: two.db }, other.document);
    expect(await foldDocument(node.db, client.document)).toBe(false);
    await projectDocument(options, client.document);
    expect(await storedText(node.db, key)).toBe("axyz");
    expect(
      await t.db.query("select data ->> 'body' as body from perch.records where record_id = $1", [key.recordId]),
    ).toEqual([{ body: "axyz" }]);
  });

  it("is noticed by a DocumentStore, whatever the positions have become", async () => {
    const { t, key } = await wentBack();
    const address = { ...key, spaceId: null };
    const engine = lendEngine();
    cleanup(() => engine.close());
    const store = new DocumentStore({ engine });
    const write = (title: string) => t.asUser("ada", (tx) => store.applyPatch(tx, address, { title }));
    const goBack = await rememberDocument(t.db, key);
    await write("lost");
    await goBack();
    const other = await connect(await startNode(t), key);
    await other.type("x");
    const { data } = await t.asUser("ada", (tx) => store.applyPatch(tx, address, { body: "axy" }));
    expect(data).toEqual({ title: null, body: "axy" });
    await other.document.refresh();
    expect(other.text()).toBe("axy");
  });

  it("is noticed where a patch names what it is based on", async () => {
    const { t, key, client } = await wentBack("a");
    const goBack = await rememberDocument(t.db, key);
    await client.type("b");
    const state = "select * from perch.document_state(app_id => 'notes', table_name => 'pages', record_id => $1)";
    const [read] = await t.asUser("ada", (tx) =>
      tx.query<{ head_seq: number; head_revision: number }>(state, [key.recordId]),
    );
    const base = [read?.head_seq, read?.head_revision];
    const patch = () =>
      t.asUser("ada", (tx) =>
        tx.query(
          `select perch.patch_document(app_id => 'notes', table_name => 'pages', record_id => $1, patch => '{"body": "abc"}',
                                       base_seq => $2, base_revision => $3)`,
          [key.recordId, ...base],
        ),
      );
    const readOn = () =>
      t.asUser("ada", (tx) =>
        tx.query<{ updates: unknown[] }>(
          `select updates from perch.document_state(app_id => 'notes', table_name => 'pages', record_id => $1,
                                                    after_seq => $2, after_revision => $3)`,
          [key.recordId, ...base],
        ),
      );
    expect(await readOn()).toEqual([{ updates: [] }]);
    await goBack();
    await expect(patch()).rejects.toMatchObject({ code: "PE410", detail: { argument: "base_seq", got: 2 } });
    await expect(readOn()).rejects.toMatchObject({
      code: "PE410",
      detail: { spaces: [{ reason: "ahead", latest_seq: 1 }] },
    });
    await (await connect(await startNode(t), key)).type("x");
    await expect(patch()).rejects.toMatchObject({ code: "PE410" });
    await expect(readOn()).rejects.toMatchObject({
      code: "PE410",
      detail: { spaces: [{ reason: "epoch", latest_seq: 2 }] },
    });
  });

  it("is noticed where a patch names a push that it is based on, before and after that was merged", async () => {
    const { t, key } = await wentBack("a");
    const goBack = await rememberDocument(t.db, key);
    type Given = { seq: number; revision: number };
    const submit = async (body: string, base?: Given): Promise<Given> => {
      const sql = `select * from perch.submit_patch(app_id => 'notes', table_name => 'pages', record_id => $1, patch => $2,
                                                    base_seq => $3, base_revision => $4)`;
      const values = [key.recordId, JSON.stringify({ body }), base?.seq, base?.revision];
      const [row] = await t.asUser("ada", (tx) => tx.query<Given>(sql, values));
      if (row === undefined) throw new Error("no row");
      return row;
    };
    const push = async (body: string, base?: Given) => {
      const given = base && { base_seq: base.seq, base_revision: base.revision };
      const change = { op: "update", table: "pages", id: key.recordId, data: { body }, ...given };
      const [row] = await t.asUser("ada", (tx) =>
        tx.query<{ result: Given & { status: string; error?: { code: string } } }>(
          "select perch.push(app_id => 'notes', client_id => 'c', changes => $1) -> 'results' -> 0 as result",
          [JSON.stringify([change])],
        ),
      );
      return row?.result;
    };
    const [one, two] = [await submit("ab"), await push("abc")];
    const lost = [one, { seq: two?.seq ?? 0, revision: two?.revision ?? 0 }];
    expect(lost.map(({ seq }) => seq)).toEqual([2, 3]);
    await submit("abcd", lost[0]);
    expect(await push("abcde", lost[1])).toMatchObject({ status: "applied" });
    await goBack();

    // Of what has the numbers now, the first is a push again, the second an edit.
    const again = await submit("a!");
    const node = await startWorkerNode(t);
    const refused = async () => {
      for (const base of lost) {
        await expect(submit("x", base)).rejects.toMatchObject({ code: "PE410", detail: { got: base.seq } });
        expect(await push("x", base)).toMatchObject({ status: "rejected", error: { code: "PE410" } });
      }
    };
    await eventually(async () => (await storedText(node.db, key)) === "a!");
    await refused();
    const next = await submit("a!?", again);
    // Nothing new is in it: nothing will be at its position, and it is a base all the same.
    const empty = await push("a!?", next);
    expect(empty).toMatchObject({ status: "applied" });
    await eventually(async () => (await t.db.query("select from perch.document_inbox")).length === 0);
    await submit("a!?.", empty);
    await eventually(async () => (await storedText(node.db, key)) === "a!?.");
    await refused();
  });
});
