import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createFairQueue } from "../../src/engine/fair-queue.js";

const options = { atOnce: 16, aheadMs: 8 };

/** One thread: takes what is next and runs it, until nothing waits. In: the clock, and calls by the ms they need. Out: the names in order. */
function serve(
  queue: ReturnType<typeof createFairQueue<Call>>,
  clock: { ms: number },
  until = Number.POSITIVE_INFINITY,
) {
  const order: string[] = [];
  const taken: Call[] = [];
  while (clock.ms < until) {
    for (let call = queue.next(); call !== undefined; call = queue.next()) taken.push(call);
    const call = taken.shift();
    if (call === undefined) break;
    clock.ms += call.ms;
    queue.done(call.key, call.ms);
    order.push(call.name);
  }
  return order;
}

interface Call {
  readonly key: string;
  readonly name: string;
  readonly ms: number;
}

function world() {
  const clock = { ms: 0 };
  const queue = createFairQueue<Call>({ ...options, now: () => clock.ms });
  let calls = 0;
  const ask = (key: string, ms: number) => queue.push(key, { key, ms, name: `${key}${++calls}` });
  return { clock, queue, ask };
}

describe("a fair queue", () => {
  it("serves all, each key's in order, and takes no more than may be under way", () => {
    const key = fc.constantFrom("a", "b", "c", "d");
    const step = fc.oneof(
      fc.record({ key, ms: fc.double({ min: 0, max: 300, noNaN: true }) }),
      fc.constant("next" as const),
      fc.constant("done" as const),
      fc.record({ passMs: fc.integer({ min: 0, max: 20_000_000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const { clock, queue, ask } = world();
        const asked = new Map<string, number>();
        const underWay: Call[] = [];
        const served: Call[] = [];
        const take = () => {
          const call = queue.next();
          if (call !== undefined) underWay.push(call);
          return call !== undefined;
        };
        const finish = () => {
          const call = underWay.shift();
          if (call === undefined) return;
          queue.done(call.key, call.ms);
          served.push(call);
        };
        for (const each of steps) {
          if (each === "next") take();
          else if (each === "done") finish();
          else if ("passMs" in each) clock.ms += each.passMs;
          else {
            ask(each.key, each.ms);
            asked.set(each.key, (asked.get(each.key) ?? 0) + 1);
          }
          expect(underWay.length).toBeLessThanOrEqual(options.atOnce);
          if (underWay.length === 0 && queue.length > 0) expect(take()).toBe(true);
        }
        while (take() || underWay.length > 0) finish();
        expect(queue.length).toBe(0);
        for (const [name, count] of asked) {
          const numbers = served.filter((call) => call.key === name).map((call) => Number(call.name.slice(1)));
          expect(numbers).toHaveLength(count);
          expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
        }
      }),
    );
  });

  it("lets who asks for little wait for what runs, not for all that another brought before", () => {
    const { clock, queue, ask } = world();
    ask("heavy", 50);
    serve(queue, clock);
    for (let n = 0; n < 40; n++) ask("heavy", 50);
    serve(queue, clock, clock.ms + 1);
    ask("light", 1);
    expect(serve(queue, clock).findIndex((name) => name.startsWith("light"))).toBeLessThanOrEqual(1);
  });

  it("serves first who took little, though all ask for one thing at a time", () => {
    const { clock, queue, ask } = world();
    for (let round = 0; round < 5; round++) {
      for (const heavy of ["p", "q", "r"]) ask(heavy, 80);
      ask("light", 1);
      const order = serve(queue, clock);
      if (round > 0) expect(order[0]).toMatch(/^light/);
    }
  });

  it("gives those who always ask as much each, however long their calls are", () => {
    const { clock, queue, ask } = world();
    const had = { long: 0, short: 0 };
    for (let n = 0; n < 200; n++) ask("long", 40);
    for (let n = 0; n < 8_000; n++) ask("short", 1);
    for (const name of serve(queue, clock, 4_000)) {
      if (name.startsWith("long")) had.long += 40;
      else had.short += 1;
    }
    expect(Math.min(had.long, had.short)).toBeGreaterThan(0.4 * 4_000);
  });

  it("does not serve who never asked before all who are there, when many come anew", () => {
    const { clock, queue, ask } = world();
    for (let n = 0; n < 100; n++) {
      ask("typing", 1);
      serve(queue, clock);
      clock.ms += 50;
    }
    ask("typing", 1);
    for (let n = 0; n < 100; n++) ask(`new${n}-`, 1);
    expect(serve(queue, clock)[0]).toMatch(/^typing/);
  });

  it("forgets in time what somebody took", () => {
    const { clock, queue, ask } = world();
    ask("once", 5_000);
    serve(queue, clock);
    clock.ms += 300_000;
    for (let n = 0; n < 100; n++) ask("now", 10);
    ask("once", 1);
    expect(serve(queue, clock).findIndex((name) => name.startsWith("once"))).toBeLessThanOrEqual(options.atOnce);
  });
});
