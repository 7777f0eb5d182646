import fc from "fast-check";
import { EphemeralStore, type Value } from "loro-crdt";
import { describe, expect, it } from "vitest";
import { presenceEntries, presenceUpdate } from "../../src/rooms/presence-entries.js";

function storeWith(states: Record<string, unknown>): EphemeralStore<Record<string, Value>> {
  const store = new EphemeralStore<Record<string, Value>>(30_000);
  for (const [key, value] of Object.entries(states)) store.set(key, value as never);
  return store;
}

const value = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true }),
    fc.maxSafeInteger(),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 10 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.string(), tie("value"), { maxKeys: 4 }),
  ),
})).value;

describe("presence updates", () => {
  it("are taken apart and put together again without a byte lost", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string({ minLength: 1 }), value, { maxKeys: 8 }), (states) => {
        const store = storeWith(states);
        const update = store.encodeAll();
        const entries = presenceEntries(Buffer.from(update));
        expect(entries).toHaveLength(Object.keys(states).length);
        expect(presenceUpdate(entries ?? [])).toEqual(update);
        store.destroy();
      }),
    );
  });

  it("tell when each entry was set", () => {
    const before = Date.now();
    const store = storeWith({ ada: { cursor: 3 } });
    const [entry] = presenceEntries(Buffer.from(store.encodeAll())) ?? [];
    expect(entry?.setAt).toBeGreaterThanOrEqual(before);
    expect(entry?.setAt).toBeLessThanOrEqual(Date.now());
    store.delete("ada");
    const [deleted] = presenceEntries(Buffer.from(store.encodeAll())) ?? [];
    expect([deleted?.key, deleted?.bytes.includes(1)]).toEqual(["ada", expect.any(Boolean)]);
    store.destroy();
  });

  it("merge in another store when entries of several are put into one", () => {
    const [one, two, reader] = [storeWith({ ada: 1 }), storeWith({ bob: [2] }), new EphemeralStore(30_000)];
    const entries = [one, two].flatMap((store) => presenceEntries(Buffer.from(store.encodeAll())) ?? []);
    reader.apply(presenceUpdate(entries));
    expect(reader.getAllStates()).toEqual({ ada: 1, bob: [2] });
    for (const store of [one, two, reader]) store.destroy();
  });

  it("that are none are refused, whatever the bytes", () => {
    const store = storeWith({ ada: { at: [1, "two", null, 2.5] }, bob: new Uint8Array([1, 2, 3]) });
    const valid = Buffer.from(store.encodeAll());
    store.destroy();
    for (let cut = 0; cut < valid.length; cut++) expect(presenceEntries(valid.subarray(0, cut))).toBeUndefined();
    const reader = new EphemeralStore(30_000);
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }), (changes) => {
        const mutant = Buffer.from(valid);
        for (const [at, byte] of changes) mutant[at % mutant.length] = byte;
        // What perch lets pass, every client must be able to read.
        if (presenceEntries(mutant) !== undefined) reader.apply(mutant);
      }),
      { numRuns: 5_000 },
    );
    reader.destroy();
    expect(presenceEntries(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f]))).toBeUndefined();
    expect(presenceEntries(Buffer.alloc(0))).toBeUndefined();
  });

  it("nested without end do not exhaust the stack", () => {
    const nested = Buffer.concat([
      Buffer.from([1, 1, 97, 1]),
      Buffer.alloc(100_000, Buffer.from([5, 1])),
      Buffer.from([0, 2]),
    ]);
    expect(presenceEntries(nested)).toBeUndefined();
  });
});
