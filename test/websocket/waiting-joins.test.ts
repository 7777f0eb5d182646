/** What waits for room in its user's share goes when its socket does: it would be held for nobody, and counted nowhere. */
import { encode, MessageType } from "loro-protocol";
import { expect, it } from "vitest";
import { createLedger, openAccount } from "../../src/lib/ledger.js";
import { decodeFrame } from "../../src/protocol/decode.js";
import { createMembership } from "../../src/websocket/membership.js";
import type { Connection } from "../../src/websocket/services.js";
import { until } from "../support/until.js";

const joinFrame = () => {
  const auth = new TextEncoder().encode("ada");
  const bytes = encode({
    type: MessageType.JoinRequest,
    crdt: "%LOR",
    roomId: "/app/notes/a",
    auth,
    version: new Uint8Array(),
  });
  const frame = decodeFrame(Buffer.from(bytes));
  if (frame?.kind !== "join") throw new Error("this is no join");
  return frame;
};

it("a join that waits for room in its user's share leaves the line when its socket closes", async () => {
  const ledger = createLedger(10_000_000);
  const account = openAccount(ledger);
  account.become("ada");
  let turns = 0;
  // What a join does not come to here is not there.
  const connection = {
    account,
    settings: { joinPatienceMs: 1_000, maxQueuedBytes: 1_000 },
    outbox: {},
    identify: () => Promise.resolve({ userId: "ada", expiresAt: Number.POSITIVE_INFINITY }),
    inTurn: () => {
      turns += 1;
      return new Promise(() => undefined);
    },
    forget: () => undefined,
    fault: (error: unknown) => {
      throw error;
    },
  } as unknown as Connection;
  const unread = await ledger.reserve("ada", 8_000_000);
  const signals: AbortSignal[] = [];
  const reserve = account.reserve.bind(account);
  account.reserve = ((bytes: number, gone: AbortSignal) => {
    signals.push(gone);
    return reserve(bytes, gone);
  }) as typeof account.reserve;

  const joins = Array.from({ length: 50 }, () =>
    createMembership(connection, joinFrame(), () => Promise.reject(new Error("nobody came so far"))),
  );
  await until(() => signals.length === joins.length);
  for (const join of joins.slice(1)) join.close();
  expect(signals.map(({ aborted }) => aborted)).toEqual(joins.map((_, nth) => nth > 0));
  expect(turns).toBe(0);
  unread.release();
  await until(() => turns > 0);
  // The one that is still there; none of the others came first.
  expect(turns).toBe(1);
  // One that ends before it has come so far does not get into the line at all.
  const early = createMembership(connection, joinFrame(), () => Promise.reject(new Error("nobody came so far")));
  early.close();
  await new Promise((resolve) => setImmediate(resolve));
  expect(signals).toHaveLength(joins.length);
});
