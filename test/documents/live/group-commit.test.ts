import { expect, it, vi } from "vitest";
import { type Appendable, type CommitBatch, createGroupCommit } from "../../../src/documents/live/group-commit.js";
import type { Append } from "../../../src/documents/live/open-document.js";
import { newRevision, type Position } from "../../../src/documents/live/queries.js";
import { postgres } from "../../support/databases.js";
import { cleanup, connect, declare, eventually, freshId, keyOf, startNode } from "./support.js";

const open = postgres(18);

it("an append is given up after its own time, not that of one before it that came to nothing", async () => {
  const t = await open();
  await declare(t);
  const node = await startNode(t);
  const key = keyOf(freshId());
  await (await connect(node, key)).type("there");
  const [after] = await t.db.query<Position>(
    "select merged_seq as seq, revision from perch.documents where record_id = $1",
    [key.recordId],
  );
  const giveUpMs = 300_000;
  const groupCommit = createGroupCommit(node.db, { patienceMs: 20, ownPatienceMs: 20, giveUpMs });
  cleanup(() => groupCommit.close());
  const waiting: CommitBatch[] = [];
  let isGone = true;
  const told: string[] = [];
  const appendable: Appendable = {
    takeBatch: () => waiting.shift(),
    stored: async () => void told.push("stored"),
    failed: () => void told.push("failed"),
    part: () => false,
    giveBack(batch) {
      told.push("given back");
      // The first one's incarnation has ended, say: it is not there any more when it is asked for.
      if (isGone) return;
      waiting.push(batch);
      groupCommit.wake(appendable);
    },
  };
  const append = () => {
    const update = { payload: new Uint8Array(1), userId: "ada", clientId: null, ends: null, writable: null };
    waiting.push({
      entry: { key, after: after as Position, revision: newRevision(), updates: [update] },
      appends: [{} as Append],
      bytes: 1,
      notifications: [],
      asking: [],
    });
    groupCommit.wake(appendable);
  };
  let release = () => {};
  let locking: Promise<void> | undefined;
  await new Promise<void>((locked) => {
    locking = t.db.transaction(async (tx) => {
      await tx.query("select from perch.documents where record_id = $1 for update", [key.recordId]);
      await new Promise<void>((done) => {
        release = done;
        locked();
      });
    });
  });
  // By a clock that goes on only here: an attempt takes however long it takes on a slow machine.
  let clock = Date.now();
  const now = vi.spyOn(Date, "now").mockImplementation(() => clock);
  cleanup(() => now.mockRestore());
  append();
  await eventually(() => told.length > 0);
  clock += giveUpMs + 1;
  isGone = false;
  told.length = 0;
  append();
  await eventually(() => told.length > 0);
  expect(told[0]).toBe("given back");
  clock += giveUpMs + 1;
  await eventually(() => told.includes("failed"));
  release();
  await locking;
});
