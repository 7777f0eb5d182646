import { expect, it } from "vitest";
import { describeEachPostgres } from "../../support/databases.js";
import { ada, connect, declare, freshId, keyOf, startNode, storedText, typed } from "./support.js";

describeEachPostgres("what the database refuses of a transaction over many updates", (open) => {
  it("takes nothing with it that others wrote, and leaves nothing behind that builds on it", async () => {
    const t = await open();
    await declare(t);
    await t.db.query(`do $$ begin
      execute format('alter database %I set perch.max_update_bytes = 1000', current_database());
    end $$`);
    const node = await startNode(t);
    const reader = await connect(node, keyOf(freshId()), { userId: "ada", clientId: "reader" });
    const { document } = reader;
    const held = node.db.hold(/append_updates/, "before");
    const first = reader.type("_");
    await held;

    const [short, long, more] = typed(["a", Array.from({ length: 900 }, (_, index) => index).join(), "b"]).updates as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    const [other] = typed("c").updates as [Uint8Array];
    const author = (clientId: string) => ({ ...ada, clientId });
    const results = Promise.allSettled([
      document.append([short], author("one"), undefined),
      document.append([long], author("one"), undefined),
      document.append([more], author("one"), undefined),
      document.append([other], author("two"), undefined),
    ]);
    // All of them are in the copy, and wait for the transaction under way.
    await node.engine.call(document.id, "has", [document.id]);
    node.db.counted();
    node.db.go();
    await first;

    const answers = (await results).map((result) => (result.status === "rejected" ? result.reason.code : "stored"));
    expect(answers).toEqual(["stored", "PE413", "PE422", "stored"]);
    expect(await storedText(node.db, document.key)).toMatch(/^[_ac]{3}$/);
    expect(reader.text()).toBe(await storedText(node.db, document.key));
    expect((await reader.type("d")).seq).toBe(4);
  });
});
