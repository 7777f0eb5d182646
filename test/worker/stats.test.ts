import { expect, it } from "vitest";
import { connect, declare, eventually, freshId, keyOf, pause } from "../documents/live/support.js";
import { describeBothKinds } from "../support/databases.js";
import { patchDocument, pushUpdate, replica, startWorkerNode } from "./support.js";

describeBothKinds("what a worker says of itself", (open) => {
  it("is how long something has waited to be merged, and what became of it", async () => {
    const t = await open();
    await declare(t);
    const key = keyOf(freshId());
    await t.asUser("ada", async (tx) => {
      await pushUpdate(tx, key, replica().type("waits"));
      const corrupt = replica().type("corrupt");
      await pushUpdate(tx, key, corrupt.fill(0xff, 22));
    });
    // So long it waits: that is what is told.
    await pause(200);
    const node = await startWorkerNode(t, { settings: { pollMs: 60_000 } });
    const held = node.db.hold(/finish_inbox/, "before");
    await held;
    expect(node.worker.stats()).toMatchObject({ pending: 1, merged: 0, setAside: 0 });
    expect(node.worker.stats().mergeLagMs).toBeGreaterThan(150);
    node.db.go();
    await eventually(() => node.worker.stats().pending === 0);
    expect(node.worker.stats()).toMatchObject({ mergeLagMs: 0, merged: 2, setAside: 1 });
  });

  it("is how far records are behind their documents", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { projectionMs: 30 } });
    expect(node.worker.stats()).toMatchObject({ behind: 0, projectionLagMs: 0 });
    const held = node.db.hold(/project_document/, "before");
    const client = await connect(node, keyOf(freshId()));
    await client.type("a");
    expect(node.worker.stats().behind).toBe(1);
    await held;
    await client.type("b");
    const { behind, projectionLagMs } = node.worker.stats();
    expect(behind).toBe(1);
    await eventually(() => node.worker.stats().projectionLagMs > projectionLagMs);
    node.db.go();
    await eventually(() => node.worker.stats().behind === 0);
    expect(node.worker.stats().projectionLagMs).toBe(0);
  });

  it("is said by live documents as well: readers, tails, and how long a notification takes", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { foldUpdates: 5 } });
    const key = keyOf(freshId());
    expect(node.live.stats()).toMatchObject({ documents: 0, readers: 0, tailUpdates: 0, notifyLagMs: undefined });
    const [writer, reader] = [await connect(node, key), await connect(node, key)];
    for (const letter of "abc") await writer.type(letter);
    await eventually(() => node.live.stats().notifyLagMs !== undefined);
    await eventually(() => node.live.stats().longestTail === 3);
    expect(node.live.stats()).toMatchObject({ documents: 1, warm: 1, readers: 2, tailUpdates: 3, appending: 0 });
    expect(node.live.stats().tailBytes).toBeGreaterThan(100);
    reader.leave();
    for (const letter of "defgh") await writer.type(letter);
    // Folded with as many of the eight as were there by then; what was typed behind that is a tail still, and may be too short to be folded.
    await eventually(async () => {
      const [row] = await t.db.query<{ snapshot_seq: number }>("select snapshot_seq from perch.documents");
      const folded = row?.snapshot_seq ?? 0;
      return folded > 0 && node.live.stats().tailUpdates === 8 - folded;
    });
    expect(node.live.stats().readers).toBe(1);
  });

  it("shows notifications that do not come as a lag that grows", async () => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { deaf: true });
    const client = await connect(node, keyOf(freshId()));
    await client.type("a");
    await eventually(() => (node.live.stats().notifyLagMs ?? 0) > 50);
    await t.asUser("ada", (tx) => patchDocument(tx, client.document.key, { title: "not notified either" }));
    const before = node.live.stats().notifyLagMs ?? 0;
    await eventually(() => (node.live.stats().notifyLagMs ?? 0) > before);
  });
});
