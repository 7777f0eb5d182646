import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { createReplica, fold, live, load } from "./fold.js";
import { type Change, insert, pull, pullAll, push, records, remove, snapshot, update } from "./support.js";

// Few of everything, so that changes meet: times of mixed precision that are equal or next to each other, values of all types.
const times = [
  "2026-01-01T10:00:00Z",
  "2026-01-01T10:00:00.000Z",
  "2026-01-01T11:00:00+01:00",
  "2026-01-01T10:00:00.1Z",
  "2026-01-01T10:00:00.12Z",
  "2026-01-01T10:00:00.123Z",
  "2026-01-01T10:00:00.123456Z",
  "2026-01-01T10:00:01Z",
];
const value = fc.constantFrom<unknown>("a", "b", "Z", "é", 1, 2, 10, true, false, null, [], [1], { a: 1 });
const time = fc.constantFrom(...times);
const data = fc.dictionary(fc.constantFrom("title", "done", "note"), value, { maxKeys: 3 });
const id = fc.constantFrom("x", "y");
const written = fc.record({
  op: fc.constantFrom("insert", "update"),
  id,
  data,
  at: time,
  meta: fc.array(fc.option(time), { maxLength: 3 }),
});
const change = fc.oneof(
  { weight: 3, arbitrary: written },
  { weight: 1, arbitrary: fc.record({ op: fc.constant("delete"), id, at: time }) },
);

interface Sent {
  client: string | null;
  change: Change;
}

const sent: fc.Arbitrary<Sent> = fc.record({
  client: fc.constantFrom("a", "b", null),
  change: change.map((made): Change => {
    if (!("data" in made)) return remove(made.id, { at: made.at });
    const fields = Object.keys(made.data);
    const meta = Object.fromEntries(
      fields.flatMap((field, index) => (made.meta[index] ? [[field, made.meta[index]]] : [])),
    );
    const more = { at: made.at, ...(Object.keys(meta).length > 0 ? { field_meta: meta } : {}) };
    return made.op === "insert" ? insert(made.id, made.data, more) : update(made.id, made.data, more);
  }),
});

/** The same changes again: in another order, some twice, in batches of other sizes. */
const history = fc.array(sent, { minLength: 1, maxLength: 10 }).chain((all) =>
  fc.record({
    all: fc.constant(all),
    again: fc.shuffledSubarray([...all, ...all.slice(0, 3)], { minLength: all.length + Math.min(3, all.length) }),
    sizes: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 20, maxLength: 20 }),
  }),
);

function batches(all: readonly Sent[], sizes: readonly number[]): { client: string | null; changes: Change[] }[] {
  const made: { client: string | null; changes: Change[] }[] = [];
  for (const { client, change: one } of all) {
    const last = made.at(-1);
    if (last !== undefined && last.client === client && last.changes.length < (sizes[made.length] ?? 1))
      last.changes.push(one);
    else made.push({ client, changes: [one] });
  }
  return made;
}

describeEachEngine("Merging", (open, engine) => {
  it("gives the same records for any order, repetition and division into batches, and so does a client that folds what it pulls", async () => {
    const t = await open();
    let run = 0;
    await fc.assert(
      fc.asyncProperty(history, async ({ all, again, sizes }) => {
        run++;
        const [one, two] = [`one${run}`, `two${run}`];
        const seen: Record<string, unknown>[] = [];
        for (const [user, sentBy] of [
          [one, all.map((s) => ({ client: s.client, changes: [s.change] }))],
          [two, batches(again, sizes)],
        ] as const) {
          const early = createReplica();
          await t.asUser(user, async (tx) => {
            const half = Math.floor(sentBy.length / 2);
            for (const { client, changes } of sentBy.slice(0, half)) await push(tx, changes, client);
            const { cursor, ...taken } = await snapshot(tx);
            for (const { client, changes } of sentBy.slice(half)) {
              for (const result of await push(tx, changes, client)) expect(result.status).toBe("applied");
            }
            const server = await records(tx);
            // A client that has everything, in pages.
            const whole = createReplica();
            fold(whole, (await pullAll(tx, { pageSize: 3 })).changes);
            expect(live(whole)).toEqual(server);
            // One that was given a snapshot, without what was deleted, half way.
            load(early, `~${user}`, { cursor, ...taken });
            fold(early, (await pullAll(tx, { cursor })).changes);
            expect(live(early)).toEqual(server);
            seen.push(
              Object.fromEntries(
                Object.entries(server).map(([key, found]) => [key.split("/").slice(1).join("/"), found]),
              ),
            );
          });
        }
        expect(seen[1]).toEqual(seen[0]);
      }),
      { numRuns: { PGlite: 10, "Postgres 18": 80, "Postgres 15": 20 }[engine] },
    );
  });

  describe("decides", () => {
    let t: TestDatabase;
    let users = 0;
    beforeAll(async () => {
      t = await open();
    });
    /** Of somebody who has nothing else. */
    const outcome = async (...changes: [Change, (string | null)?][]) => {
      return t.asUser(`user${++users}`, async (tx) => {
        for (const [made, client] of changes) await push(tx, [made], client === undefined ? "laptop" : client);
        return Object.values(await records(tx))[0];
      });
    };
    const at = (second: number | string) => ({ at: `2026-01-01T10:00:0${second}Z` });

    it("by who wrote it, also when an insertion by another revives the record", async () => {
      await t.asUser("ada", async (tx) => {
        const [at, later] = ["2026-01-01T10:00:00.12Z", "2026-01-01T10:00:00.2Z"];
        await push(tx, [insert("x", { n: "of no client" }, { at })], null);
        // Deletes what is older than the field, and inserts again: the entry names the field as well, which its client did not write.
        await push(tx, [remove("x", { at: "2026-01-01T10:00:00.1Z" }), insert("x", { m: 1 }, { at: later })], "z");
        await push(tx, [update("x", { n: "of a client" }, { at })], "a");
        const replica = createReplica();
        fold(replica, (await pullAll(tx, { pageSize: 3 })).changes);
        expect(await records(tx)).toEqual({ "~ada/tasks/x": { n: "of a client", m: 1 } });
        expect(live(replica)).toEqual(await records(tx));
      });
    });

    it("by time and not by the text of a time of another precision", async () => {
      expect(
        await outcome([insert("x", { n: "late" }, at("5.123"))], [update("x", { n: "early" }, at("5.12"))]),
      ).toEqual({ n: "late" });
    });

    it("a tie by the greater client, whichever comes first", async () => {
      const [a, b]: [Change, string][] = [
        [insert("x", { n: "a" }, at(1)), "phone"],
        [insert("x", { n: "b" }, at(1)), "laptop"],
      ] as never;
      expect(await outcome(a as never, b as never)).toEqual({ n: "a" });
      expect(await outcome(b as never, a as never)).toEqual({ n: "a" });
    });

    it("that a deletion beats an insertion of the same instant, and an update revives nothing", async () => {
      expect(await outcome([insert("x", { n: 1 }, at(1))], [remove("x", at(1))])).toBeUndefined();
      expect(await outcome([remove("x", at(1))], [insert("x", { n: 1 }, at(1))])).toBeUndefined();
      expect(
        await outcome([insert("x", { n: 1 }, at(1))], [remove("x", at(2))], [update("x", { n: 2 }, at(3))]),
      ).toBeUndefined();
    });

    it("that a later insertion revives a record with what was written after the deletion, and nothing from before", async () => {
      expect(
        await outcome(
          [insert("x", { a: 1, b: 1 }, at(1))],
          [remove("x", at(2))],
          [update("x", { b: 2 }, at(3))],
          [insert("x", { c: 3 }, at(4))],
        ),
      ).toEqual({ b: 2, c: 3 });
    });
  });

  it("sets the clock of a client that is ahead back to the server's, so that it does not win for ever", async () => {
    const t = await open();
    await t.asUser("ada", async (tx) => {
      await tx.query("select set_config('perch.clock_tolerance_ms', '0', true)");
      await push(tx, [
        insert("x", { n: "future" }, { at: "2099-01-01T00:00:00Z", field_meta: { n: "2098-01-01T00:00:00Z" } }),
      ]);
      const [entry] = (await pull(tx)).changes;
      expect(Math.abs(Date.parse(entry?.at ?? "") - Date.now())).toBeLessThan(60_000);
      expect(Math.abs(Date.parse(entry?.field_meta.n ?? "") - Date.now())).toBeLessThan(60_000);
      await push(tx, [update("x", { n: "now" })]);
      expect(await records(tx)).toEqual({ "~ada/tasks/x": { n: "now" } });
    });
  });

  it("keeps the order of the changes of a push by a client whose clock is ahead", async () => {
    const t = await open();
    await t.asUser("ada", async (tx) => {
      const later = (second: number) => `2099-01-01T00:00:0${second}Z`;
      // Read all at once, one by one (a base_seq), and with times of fields.
      for (const [id, more] of [
        ["ordinary", {}],
        ["other", { base_seq: 0 }],
      ] as const) {
        await push(tx, [
          insert(id, { n: "z", m: "z" }, { at: later(1), ...more }),
          update(id, { n: "b" }, { at: later(2), ...more }),
          update(id, { n: "a", m: "a" }, { field_meta: { n: later(3), m: later(4) }, ...more }),
        ]);
      }
      await push(tx, [insert("gone", { n: "z" }, { at: later(1) }), remove("gone", { at: later(2) })]);
      const last = { n: "a", m: "a" };
      expect(await records(tx)).toEqual({ "~ada/tasks/ordinary": last, "~ada/tasks/other": last });
    });
  });

  it("lets a repeated insertion without a time overwrite no edit, only add what is missing", async () => {
    const t = await open();
    await t.asUser("ada", async (tx) => {
      const made = insert("x", { title: "Milk", done: false });
      await push(tx, [made]);
      await push(tx, [update("x", { title: "Bread" })]);
      await push(tx, [made]);
      await push(tx, [insert("x", { title: "Wine", note: "new" })]);
      expect(await records(tx)).toEqual({ "~ada/tasks/x": { title: "Bread", done: false, note: "new" } });
      const whole = createReplica();
      fold(whole, (await pullAll(tx)).changes);
      expect(live(whole)).toEqual(await records(tx));
    });
  });

  it("takes changes without times as made one after the other, also of one push and within one tick of a coarse clock", async () => {
    const t = await open();
    await t.asUser("ada", async (tx) => {
      await push(tx, [
        insert("x", { n: 1 }),
        remove("x"),
        insert("x", { n: 2 }),
        update("x", { n: 3, m: 1 }),
        update("x", { n: 2 }),
      ]);
      expect(await records(tx)).toEqual({ "~ada/tasks/x": { n: 2, m: 1 } });
      for (const n of ["c", "b", "a"]) await push(tx, [update("x", { n })]);
      expect(await records(tx)).toEqual({ "~ada/tasks/x": { n: "a", m: 1 } });
      await push(tx, [remove("x")]);
      await push(tx, [insert("x", { again: true })]);
      expect(await records(tx)).toEqual({ "~ada/tasks/x": { again: true } });
    });
  });

  it("takes an update without a time of its own as made when its last field was", async () => {
    const t = await open();
    await t.asUser("ada", async (tx) => {
      await push(tx, [
        update("x", { a: 1, b: 2 }, { field_meta: { a: "2026-01-01T10:00:00Z", b: "2026-01-01T11:00:00Z" } }),
      ]);
      const [entry] = (await pull(tx)).changes;
      expect(entry?.at).toBe("2026-01-01T11:00:00.000000Z");
      await push(tx, [update("x", { a: 9, b: 9 }, { at: "2026-01-01T10:30:00Z" })]);
      expect(await records(tx)).toEqual({ "~ada/tasks/x": { a: 9, b: 2 } });
    });
  });
});
