import { createHook } from "node:async_hooks";
import fc from "fast-check";
import { pino } from "pino";
import { expect, it } from "vitest";
import type { Database } from "../../src/database/types.js";
import { createPresenceExchange, type Poll, type Polling, polls } from "../../src/rooms/presence-exchange.js";
import type { PresenceAddress, StoredEntry } from "../../src/rooms/presence-queries.js";
import { until } from "../support/until.js";

it("polls for what other nodes put are made one at a time, and whatever is asked for meanwhile follows", () => {
  const events = fc.array(fc.constantFrom("changes" as const, "greeting" as const, "polled" as const), {
    maxLength: 30,
  });
  fc.assert(
    fc.property(events, fc.boolean(), (asked, closes) => {
      let state: Polling = "idle";
      let running: Poll | undefined;
      let wanted: Poll | undefined;
      const tell = (event: Poll | "polled" | "close") => {
        const { state: next, actions } = polls[state][event];
        state = next;
        return actions;
      };
      for (const event of asked) {
        if (event === "polled" && running === undefined) continue;
        if (event === "polled") running = undefined;
        else if (wanted !== "greeting") wanted = event;
        const begun = tell(event);
        if (running !== undefined) expect(begun).toEqual([]);
        else {
          expect(begun).toEqual(wanted === undefined ? [] : [wanted]);
          running = wanted;
          wanted = undefined;
        }
      }
      if (!closes) return;
      expect(tell("close")).toEqual([]);
      for (const event of ["changes", "greeting", "polled"] as const) expect(tell(event)).toEqual([]);
    }),
  );
});

/** An exchange with a database that answers what is stored of it when it is told to; `puts`: who brought the entries of each call. */
function exchangeWith() {
  const puts: (string | null)[][] = [];
  const answers: ((error?: Error) => void)[] = [];
  let isAtOnce = false;
  const db = {
    kind: "pglite",
    query: (_sql: string, values: unknown[]) =>
      new Promise((resolve, reject) => {
        puts.push(values[12] as (string | null)[]);
        answers.push((error) => (error ? reject(error) : resolve([{ change_id: puts.length }])));
        if (isAtOnce) answers.shift()?.();
      }),
  } as unknown as Database;
  const exchange = createPresenceExchange({
    db,
    notifications: { add: () => () => undefined },
    log: pino({ level: "silent" }),
    intervalMs: 1,
    maxUserBytes: 2 ** 20,
    on: { arrived: () => undefined, othersCame: () => undefined, beat: () => undefined },
  });
  /** Answers the next call. */
  const answer = async (error?: Error) => {
    await until(() => answers.length > 0);
    answers.shift()?.(error);
  };
  /** Answers those that wait, and from then on each when it comes. */
  const answerAll = () => {
    isAtOnce = true;
    for (const one of answers.splice(0)) one();
  };
  return { exchange, puts, answer, answerAll };
}

const roomOf = (recordId: string): PresenceAddress => ({
  key: { spaceId: "team", appId: "app", tableName: "notes", recordId },
  kind: "persisted",
});
const entriesOf = (user: string, count: number, size = 1): StoredEntry[] =>
  Array.from({ length: count }, (_, n) => {
    const whose = { userId: user, broughtBy: user, keepMs: 60_000, heldMs: 0 };
    return { key: `${user}${n}`, bytes: new Uint8Array(size), setAt: 1, ...whose };
  });

it("what one user brings waits for nobody who brings more, however large it is", async () => {
  const { exchange, puts, answer, answerAll } = exchangeWith();
  const eves = [1, 2, 3, 4, 5].map((n) => exchange.store(roomOf(`e${n}`), entriesOf("eve", 1_000)));
  const large = exchange.store(roomOf("large"), entriesOf("carl", 10, 400_000));
  const adas = exchange.store(roomOf("a"), entriesOf("ada", 200));
  await answer();
  await adas;
  expect(puts).toHaveLength(1);
  expect(new Set(puts[0])).toEqual(new Set(["eve", "carl", "ada"]));
  // Those who have been served are behind those who have not.
  const bobs = exchange.store(roomOf("b"), entriesOf("bob", 1));
  await answer();
  await bobs;
  answerAll();
  await Promise.all([...eves, large]);
  expect(puts.flat()).toHaveLength(5_000 + 10 + 200 + 1);
  await exchange.close();
});

it("what waits is held for whoever brought it, and all that came together waits as one", async () => {
  const { exchange, answer } = exchangeWith();
  let held = 0;
  const holder = {
    hold(bytes: number) {
      held += bytes;
    },
  };
  const entries = entriesOf("eve", 1_000);
  let promises = 0;
  const counting = createHook({
    init(_id, type) {
      if (type === "PROMISE") promises++;
    },
  }).enable();
  const stored = Array.from({ length: 10 }, () => exchange.store(roomOf("r"), entries, holder));
  counting.disable();
  expect(promises).toBeLessThan(100);
  expect(held).toBeGreaterThan(300_000);
  expect(held).toBeLessThan(400_000);
  // It waits again until it can be stored, for nobody any more.
  const failed = Promise.allSettled(stored);
  await answer(new Error("out of order"));
  expect((await failed).map(({ status }) => status)).toEqual(Array(10).fill("rejected"));
  expect(held).toBeGreaterThan(300_000);
  await answer();
  await until(() => held === 0);
  await exchange.close();
});
