import { beforeAll, expect, it } from "vitest";
import { describeBothKinds, type TestDatabase } from "../../support/databases.js";
import { ada, connect, declare, freshId, keyOf, startNode, storedText, strangersUpdate } from "./support.js";

describeBothKinds("appending to a live document", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
    await declare(t);
  });

  it("stores, tells the readers in order and then acknowledges", async () => {
    const node = await startNode(t);
    const key = keyOf(freshId());
    const [writer, reader] = [await connect(node, key), await connect(node, key)];
    for (const letter of "hello") await writer.type(letter);
    expect(reader.text()).toBe("hello");
    expect(reader.heard.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
    expect(writer.heard).toHaveLength(5);
    expect(await storedText(node.db, key)).toBe("hello");
    expect(writer.document.position).toBe(5);
  });

  it("lets a late reader have everything, and nothing twice", async () => {
    const node = await startNode(t);
    const key = keyOf(freshId());
    const writer = await connect(node, key);
    await writer.type("early ");
    const late = await connect(node, key);
    expect(late.text()).toBe("early ");
    await writer.type("late");
    expect(late.text()).toBe("early late");
    expect(late.heard).toHaveLength(1);
  });

  it("puts what waits for a transaction into the next one, over all documents", async () => {
    const node = await startNode(t);
    const clients = await Promise.all(Array.from({ length: 8 }, () => connect(node, keyOf(freshId()))));
    node.db.counted();
    const held = node.db.hold(/append_updates/, "before");
    const typing = Promise.all(clients.flatMap((client) => [client.type("a"), client.type("b"), client.type("c")]));
    await held;
    // What was asked of the database and of the engine before is answered before these are: by then next to all of it waits.
    for (let round = 0; round < 3; round++) {
      await Promise.all(clients.map(() => node.db.query("select")));
      await Promise.all(clients.map(({ document }) => node.engine.call(document.id, "has", [document.id])));
    }
    node.db.go();
    await typing;
    expect(node.db.counted().append_updates).toBeLessThan(clients.length);
    for (const client of clients) expect(await storedText(node.db, client.document.key)).toBe("abc");
  });

  it("answers what it knows already without storing it again", async () => {
    const node = await startNode(t);
    const client = await connect(node, keyOf(freshId()));
    const update = strangersUpdate((doc) => doc.getText("body").insert(0, "once"));
    const first = await client.document.append([update], ada, undefined);
    const [second, third] = await Promise.all([
      client.document.append([update], ada, undefined),
      client.document.append([update], ada, undefined),
    ]);
    expect([first.seq, second.seq, third.seq]).toEqual([1, 1, 1]);
    expect(client.heard).toHaveLength(1);
  });

  it("stores where the new operations of each update end", async () => {
    const node = await startNode(t);
    const client = await connect(node, keyOf(freshId()));
    await client.type("abc");
    await client.type("d");
    const rows = await node.db.query<{ ends: Record<string, number> }>(
      "select ends from perch.document_updates where record_id = $1 order by seq",
      [client.document.key.recordId],
    );
    expect(rows.map(({ ends }) => ends)).toEqual([{ [client.doc.peerIdStr]: 3 }, { [client.doc.peerIdStr]: 4 }]);
  });
});
