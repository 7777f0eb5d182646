import { describe, expect, it } from "vitest";
import { postgres } from "../../support/databases.js";
import { connect, declare, eventually, freshId, keyOf, pause, startNode, storedText } from "./support.js";

const open = postgres(18);

describe("documents that nobody has open", () => {
  it("are kept for a while and then forgotten, whatever their number", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t, { limits: { idleMs: 150, idleDocuments: 5 } });
    for (let made = 0; made < 12; made++) {
      const client = await connect(node, keyOf(freshId()));
      await client.type("x");
      client.leave();
    }
    expect(node.live.stats().documents).toBeLessThanOrEqual(6);
    await eventually(() => node.live.stats().documents === 0);
    expect(await node.engine.call("any", "stats", [])).toMatchObject({ documents: 0 });
  });

  it("are PE404 when their table is not declared", async () => {
    const t = await open();
    const node = await startNode(t);
    await expect(node.live.open(keyOf(freshId()))).rejects.toMatchObject({ code: "PE404" });
    expect(node.live.stats().documents).toBe(0);
  });

  it("are loaded once, however many ask at the same time", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const key = keyOf(freshId());
    const opened = await Promise.all(Array.from({ length: 20 }, () => node.live.open(key)));
    expect(new Set(opened).size).toBe(1);
    expect(node.db.counted().open_document).toBe(1);
    for (const document of opened) document.release();
  });

  it("close only when what was sent is stored", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const client = await connect(node, keyOf(freshId()));
    const typing = [client.type("a"), client.type("b"), client.type("c")];
    const closing = node.live.close();
    await expect(client.document.append([], { userId: "ada" }, undefined)).rejects.toThrow("closing");
    await closing;
    await Promise.all(typing);
    expect(await storedText(node.db, client.document.key)).toBe("abc");
  });

  it("close in bounded time while the database gives no answer", async () => {
    const t = await open();
    await declare(t);
    const closeMs = 300;
    const node = await startNode(t, { limits: { closeMs } });
    const client = await connect(node, keyOf(freshId()));
    const held = node.db.hold(/append_updates/, "before");
    const typing = client.type("a").catch((error: unknown) => error);
    await held;
    // Timers of one process run in the order in which they are due, however late all of them are.
    const late = pause(10 * closeMs).then(() => "long after its time");
    expect(await Promise.race([node.live.close(), late])).toBeUndefined();
    node.db.go();
    await typing;
  });
});
