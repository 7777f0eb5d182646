import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createLedger, openAccount, type Reservation } from "../../src/lib/ledger.js";

/** Lets everything that can go on do so. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

describe("what is held for users", () => {
  it("is counted for each, and moves with a connection that shows whose it is", () => {
    const ledger = createLedger(100);
    const account = openAccount(ledger);
    account.add(60);
    expect(ledger.fits("", 41)).toBe(false);
    account.become("ann");
    expect([ledger.fits("", 100), ledger.fits("ann", 41), ledger.fits("ann", 40), ledger.total()]).toEqual([
      true,
      false,
      true,
      60,
    ]);
    account.add(50);
    expect(ledger.over()).toEqual([{ owner: "ann", bytes: 10 }]);
    account.close();
    account.add(1_000);
    expect([ledger.total(), ledger.most(), ledger.over()]).toEqual([0, 0, []]);
  });

  it("waits for room within the user's share, one after another, and keeps nobody else waiting", async () => {
    const ledger = createLedger(100);
    const entered: string[] = [];
    const enter = async (owner: string, name: string, bytes: number) => {
      const room = await ledger.reserve(owner, bytes);
      entered.push(name);
      return room;
    };
    const first = await enter("ann", "first", 250);
    const second = enter("ann", "second", 10);
    const third = enter("ann", "third", 95);
    const fourth = enter("ann", "fourth", 1);
    await enter("bob", "bob's", 100);
    await settled();
    expect(entered).toEqual(["first", "bob's"]);
    first.resize(90);
    (await second).release();
    await settled();
    expect(entered).toEqual(["first", "bob's", "second"]);
    first.release();
    first.release();
    await third;
    await fourth;
    expect([entered.slice(3), ledger.most()]).toEqual([["third", "fourth"], 100]);
  });

  it("keeps no place for who goes while it waits, and lets those behind on", async () => {
    const ledger = createLedger(100);
    const first = await ledger.reserve("ann", 90);
    const gone = new AbortController();
    const second = ledger.reserve("ann", 50, gone.signal);
    const third = ledger.reserve("ann", 10);
    gone.abort();
    expect(await second).toBeUndefined();
    (await third).release();
    expect(await ledger.reserve("ann", 20, gone.signal)).toBeUndefined();
    first.release();
    expect([ledger.total(), ledger.most()]).toEqual([0, 0]);
  });

  it("is nothing once all was given back, and never over the share while each alone is below it", async () => {
    const step = fc.record({ owner: fc.constantFrom("ann", "bob", "eve"), bytes: fc.integer({ min: 1, max: 60 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.infiniteStream(fc.nat()), async (steps, picks) => {
        const ledger = createLedger(100);
        const rooms: Reservation[] = [];
        const asked = steps.map(({ owner, bytes }) => ledger.reserve(owner, bytes).then((room) => rooms.push(room)));
        for (let done = 0; done < steps.length; ) {
          await settled();
          expect(ledger.most()).toBeLessThanOrEqual(100);
          const [room] = rooms.splice((picks.next().value as number) % rooms.length, 1);
          room?.release();
          done += 1;
        }
        await Promise.all(asked);
        expect([ledger.total(), ledger.most()]).toEqual([0, 0]);
      }),
    );
  });
});
