import { randomBytes } from "node:crypto";
import { LoroDoc } from "loro-crdt";
import { expect, it, vi } from "vitest";
import { createExportCache } from "../../../src/documents/live/export-cache.js";
import { postgres } from "../../support/databases.js";
import { ada, connect, declare, freshId, keyOf, rememberDocument, startNode } from "./support.js";

const open = postgres(18);
const letters = (count: number) => randomBytes(count / 2).toString("hex");

it("exports a large document once for the many who come with nothing, and anew when it has changed", async () => {
  const t = await open();
  await declare(t);
  const node = await startNode(t);
  const calls = vi.spyOn(node.engine, "call");
  const exports = () => calls.mock.calls.filter(([, method]) => method === "exportFrom").length;
  const key = keyOf(freshId());
  const writer = await connect(node, key);
  await writer.type(letters(100_000));
  const before = exports();
  const crowd = await Promise.all(Array.from({ length: 10 }, () => connect(node, key)));
  expect(exports() - before).toBe(1);
  for (const reader of crowd) expect(reader.text()).toBe(writer.text());

  await writer.type("!");
  for (const reader of crowd) expect(reader.text()).toBe(writer.text());
  const late = await connect(node, key);
  expect(exports() - before).toBe(2);
  expect(late.text()).toBe(writer.text());

  // Who knows something lacks something else.
  const { document } = late;
  const joined = await document.join(late.doc.oplogVersion().encode(), () => undefined);
  joined.leave();
  expect(joined.updates).toEqual([]);
});

it("gives nobody the history of an incarnation that is over", async () => {
  const t = await open();
  await declare(t);
  const node = await startNode(t);
  const key = keyOf(freshId());
  const writer = await connect(node, key);
  await writer.type(letters(100_000));
  (await connect(node, key)).leave();
  await t.asUser("ada", (tx) =>
    tx.query("select perch.delete_document(app_id => 'notes', table_name => 'pages', record_id => $1)", [key.recordId]),
  );
  await writer.document.refresh();
  const again = await connect(node, key, ada);
  expect(again.text()).toBe("");
  const doc = new LoroDoc();
  doc.getText("body").insert(0, "second life");
  doc.commit();
  await again.document.append([doc.export({ mode: "update" })], ada, undefined);
  expect((await connect(node, key)).text()).toBe("second life");
});

it("gives nobody what a database that went back has lost, whose position is something else now", async () => {
  const t = await open();
  await declare(t);
  const node = await startNode(t, { limits: { idleDocuments: 0 } });
  const key = keyOf(freshId());
  const writer = await connect(node, key);
  await writer.type("a");
  const goBack = await rememberDocument(t.db, key);
  await writer.type(letters(100_000));
  (await connect(node, key)).leave();
  writer.leave();
  await goBack();
  const other = await connect(await startNode(t), key);
  await other.type("b");
  expect(other.document.position).toBe(writer.document.position);
  expect((await connect(node, key)).text()).toBe("ab");
});

it("keeps a bounded amount, of large documents only, and not for long", () => {
  const exportCache = createExportCache();
  const exported = (bytes: number) => ({ version: new Uint8Array(1), updates: [new Uint8Array(bytes)] });
  const at = (id: number, seq = 1) => ({ id: String(id), at: { seq, revision: 1 } });
  exportCache.put(at(0), exported(1_000));
  expect(exportCache.get(at(0))).toBeUndefined();
  for (let id = 1; id <= 20; id++) exportCache.put(at(id), exported(4 * 2 ** 20));
  const kept = Array.from({ length: 20 }, (_, index) => index + 1).filter((id) => exportCache.get(at(id)));
  expect(kept).toEqual([13, 14, 15, 16, 17, 18, 19, 20]);
  expect(exportCache.get(at(20, 2))).toBeUndefined();
  expect(exportCache.get(at(20))).toBeUndefined();
  exportCache.forget(60_000);
  expect(exportCache.get(at(19))).toBeDefined();
  exportCache.forget(-1);
  expect(exportCache.get(at(19))).toBeUndefined();
});
