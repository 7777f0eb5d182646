import { afterEach, expect, it } from "vitest";
import type { Database } from "../../../src/database/types.js";
import { describeBothKinds } from "../../support/databases.js";
import { cleanUp, cleanup, connect, declare, eventually, freshId, keyOf, pause, startNode } from "./support.js";

afterEach(cleanUp);

/** The positions that rings on perch_documents tell of, by record. */
async function listen(db: Database): Promise<{ id: string; seq: number }[]> {
  const heard: { id: string; seq: number }[] = [];
  const subscription = await db.listen(["perch_documents"], {
    notify: (_channel, payload) => heard.push(JSON.parse(payload)),
    ready: () => undefined,
  });
  cleanup(() => subscription.close());
  return heard;
}

describeBothKinds("the rings of appends", (open) => {
  it("come with the first append after a pause", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const client = await connect(node, keyOf(freshId()));
    const { recordId } = client.document.key;
    node.db.counted();
    await client.type("a");
    await pause(100);
    await client.type("b");
    expect(node.db.counted().ring_appends).toBeUndefined();
    await eventually(() => heard.length === 2);
    expect(heard).toMatchObject([
      { v: 1, space_id: "~ada", app_id: "notes", table: "pages", id: recordId, seq: 1 },
      { id: recordId, seq: 2 },
    ]);
  });

  it("come for many together while appends follow each other, and tell of the last", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const clients = await Promise.all([1, 2, 3].map(() => connect(node, keyOf(freshId()))));
    const started = performance.now();
    await Promise.all(
      clients.map(async (client) => {
        for (let count = 0; count < 60; count++) await client.type("x");
      }),
    );
    for (const { document } of clients) {
      await eventually(() => heard.some(({ id, seq }) => id === document.key.recordId && seq === 60));
    }
    // For each document at most one in 25 ms.
    expect(heard.length).toBeLessThan(3 * ((performance.now() - started) / 25 + 2));
  });

  it("come also when ringing failed at first, and when the node closes meanwhile", async () => {
    const t = await open();
    await declare(t);
    const node = await startNode(t);
    const heard = await listen(t.db);
    const client = await connect(node, keyOf(freshId()));
    const tells = (seq: number) => eventually(() => heard.some((ring) => ring.seq === seq));
    let cut = false;
    void node.db.hold(/ring_appends/, "before").then(() => {
      cut = true;
    });
    while (!cut) await client.type("a");
    node.db.go(new Error("the line is cut"));
    await tells(client.document.position);
    await client.type("c");
    const { seq } = await client.type("d");
    client.leave();
    await node.live.close();
    await tells(seq);
  });
});
