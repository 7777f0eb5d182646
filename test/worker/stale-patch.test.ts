import { describe, expect, it } from "vitest";
import { connect, declare, eventually, freshId, keyOf } from "../documents/live/support.js";
import { postgres } from "../support/databases.js";
import { inbox, patchDocument, startWorkerNode } from "./support.js";

describe("a patch that was based on an older position", () => {
  const open = postgres(18);

  async function started(text: string) {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t);
    const key = keyOf(freshId());
    const reader = await connect(node, key);
    await reader.type(text);
    return { t, node, key, reader };
  }

  it("keeps what others wrote since", async () => {
    const { t, key, reader } = await started("one two three");
    const base = reader.document.position;
    await reader.type("zero ", 0);
    await reader.type(" four");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "one 2 three" }, base));
    await eventually(() => reader.text() === "zero one 2 three four");
  });

  it("at its author's own push, has seen that push and their earlier ones, and nobody else's since", async () => {
    const { t, node, key, reader } = await started("start");
    const base = reader.document.position;
    // What the worker merges meanwhile must wait, so that all of it is pending at once.
    const held = node.db.hold(/pending_documents/, "before");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "start A" }, base));
    await held;
    const own = await t.asUser("ada", (tx) => patchDocument(tx, key, { title: "mine" }));
    await reader.type("others ", 0);
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "start A B" }, own));
    node.db.go();
    await eventually(async () => (await inbox(node.db)).length === 0);
    await eventually(() => reader.text() === "others start A B");
    // And once more, now that all of these are in the tail.
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "start A C" }, own));
    await eventually(() => ["others start A B C", "others start A C B"].includes(reader.text()));
  });

  it("or on none, keeps what was typed while it waited, and of two the later one wins", async () => {
    const { t, node, key, reader } = await started("start");
    const held = node.db.hold(/pending_documents/, "before");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "start A", title: "first" }));
    await held;
    await t.asUser("ada", (tx) => patchDocument(tx, key, { title: "second" }));
    await reader.type("typed ", 0);
    await t.asUser("ada", (tx) => patchDocument(tx, key, { title: "third" }));
    node.db.go();
    await eventually(() => reader.doc.getMap("fields").get("title") === "third");
    expect(reader.text()).toBe("typed start A");
  });

  it("works across a fold, and is PE410 once its position is older than the retained tail", async () => {
    const { t, node, key, reader } = await started("one two");
    const positions = [reader.document.position];
    const fold = async () => {
      const { snapshot, seq } = await reader.document.snapshot();
      await node.db.query(
        "select perch.fold_document(space_id => $1, app_id => $2, table_name => $3, record_id => $4, snapshot => $5, seq => $6)",
        [key.spaceId, key.appId, key.tableName, key.recordId, snapshot, seq],
      );
    };
    for (const word of [" three", " four", " five"]) {
      await reader.type(word);
      positions.push(reader.document.position);
      if (word !== " five") await fold();
    }
    const [, second = 0, third = 0] = positions;
    const [row] = await node.db.query("select tail_from, snapshot_seq from perch.documents");
    expect(row).toEqual({ tail_from: second, snapshot_seq: third });
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "ONE two three" }, second));
    await eventually(() => reader.text() === "ONE two three four five");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "ONE two three FOUR" }, third));
    // Its author had not seen the first patch, and says so by the position.
    await eventually(() => reader.text().includes("FOUR five"));
    const late = await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "gone" }, positions[0]));
    await eventually(async () => (await inbox(node.db))[0]?.status === "rejected");
    expect(await inbox(node.db)).toMatchObject([{ seq: late, error: { code: "PE410" } }]);
    expect(reader.text()).toContain("FOUR five");
  });

  it("at the beginning, is taken for the work of somebody who had seen nothing", async () => {
    const { t, key, reader } = await started("there already");
    await t.asUser("ada", (tx) => patchDocument(tx, key, { body: "new here, " }, 0));
    await eventually(() => reader.text().length === 23);
    expect(reader.text()).toContain("there already");
  });
});
