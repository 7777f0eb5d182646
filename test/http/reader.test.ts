import type { IncomingMessage } from "node:http";
import { SignJWT } from "jose";
import { expect, it, onTestFinished, vi } from "vitest";
import { openExchange, waits } from "../../src/http/exchange.js";
import type { OnBehalf } from "../../src/http/on-behalf.js";
import { createReaderRequests } from "../../src/http/reader.js";
import type { TokenIdentity } from "../../src/identity/tokens.js";
import { createLedger } from "../../src/lib/ledger.js";
import type { Listener } from "../../src/notifications/hub.js";
import { startNode } from "../gateway/support.js";
import { pglite } from "../support/databases.js";
import { fakeClock } from "../support/fake-clock.js";
import { insert, metric, pushAs } from "./support.js";

const secret = "of thirty-two bytes and some more";
const open = pglite();

it("a service that waits for its log is held room for one answer, and none while there is nothing new, however often others write", async () => {
  const t = await open();
  await t.db.query("select perch.register_reader(reader => 'search', app_ids => '{watched}')");
  const node = await startNode(t, { env: { PERCH_JWT_SECRET: secret } });
  const token = await new SignJWT({ sub: "search", perch_reader: "search" })
    .setProtectedHeader({ alg: "HS256" })
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
  const ask = async (path: string, body: object) => {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(node.gateway.url + path, { method: "POST", headers, body: JSON.stringify(body) });
    return (await response.json()) as { cursor: object; changes: { id: string }[] };
  };
  const { cursor } = await ask("/v1/log/snapshot", {});
  const waiting = ask("/v1/log", { cursor, wait_ms: 25_000 });
  const held: (number | undefined)[] = [];
  for (let n = 0; n < 10; n++) {
    await pushAs(t.db, "ada", "other", insert(`o${n}`));
    // It is asked behind the look that this push was the reason of.
    await ask("/v1/log", { cursor });
    held.push(await metric(node, "perch_held_bytes_of_one_user"));
  }
  expect(Math.max(...held.map((bytes) => bytes ?? Number.NaN))).toBeLessThan(40_000_000);
  await pushAs(t.db, "ada", "watched", insert("w"));
  expect((await waiting).changes).toMatchObject([{ id: "w" }]);
});

it("a service that waits looks so often at most, however often others write, and whatever strangers notify of", async () => {
  const timers = fakeClock("lib/deadlines.ts", { toFake: ["setTimeout", "clearTimeout", "performance"] });
  onTestFinished(() => void vi.useRealTimers());
  const listeners: Listener[] = [];
  let looks = 0;
  let isAnswered = false;
  const requests = createReaderRequests({
    onBehalf: {
      looksElsewhere: false,
      look() {
        looks += 1;
        return Promise.resolve('{"cursor": {}, "changes": [], "has_more": false}');
      },
    } as unknown as OnBehalf,
    notifications: {
      add(listener) {
        listeners.push(listener);
        return () => undefined;
      },
    },
    settings: { streamIntervalMs: 50 },
    answerBytes: 1,
    isDraining: () => false,
    goOn: (_, work) =>
      void work().then((outcome) => {
        isAnswered = outcome !== waits;
      }),
    finish: () => undefined,
  });
  const identity: TokenIdentity = { userId: "search", reader: "search", expiresAt: Number.POSITIVE_INFINITY };
  const request = { socket: { destroyed: false } } as IncomingMessage;
  const response = { destroyed: false, req: request, socket: request.socket, on: () => response } as never;
  const exchange = openExchange(request, response, "one", createLedger(1_000));
  expect(await requests.read(exchange, identity, '{"wait_ms": 1000}')).toBe(waits);
  expect(timers()).toHaveLength(1);
  for (let ms = 0; ms < 1_000; ms++) {
    for (const { notified } of listeners) notified?.({ channel: "perch_changes", spaceId: "any", seq: 1 });
    await vi.advanceTimersByTimeAsync(1);
  }
  await vi.advanceTimersByTimeAsync(10);
  expect(isAnswered).toBe(true);
  expect(timers()).toEqual([]);
  expect(looks).toBeGreaterThan(10);
  expect(looks).toBeLessThanOrEqual(1_000 / 50 + 2);
});
