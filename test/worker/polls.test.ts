import { describe, expect, it } from "vitest";
import { declare, eventually } from "../documents/live/support.js";
import { postgres } from "../support/databases.js";
import { startWorkerNode } from "./support.js";

describe("what a worker looks at by itself", () => {
  const open = postgres();
  const looks = ["declared_since", "pending_documents", "claim_projections", "promise_sequencing", "notify_deferred"];

  it.each(looks)("goes on while %s gets no answer", async (held) => {
    const t = await open();
    await declare(t);
    const node = await startWorkerNode(t, { settings: { pollMs: 5 }, deaf: true });
    await node.db.hold(new RegExp(`perch\\.${held}\\b`), "before");
    for (let round = 0; round < 3; round++) {
      node.db.counted();
      const seen = new Set<string>();
      await eventually(() => {
        for (const name of Object.keys(node.db.counted())) seen.add(name);
        return looks.every((name) => name === held || seen.has(name));
      }, `the others to be looked at: ${looks}`);
    }
    expect(node.warnings).toEqual([]);
    node.db.go();
  });
});
