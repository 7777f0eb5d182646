import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { createFresh, notes, nothing, projection, replicaOf } from "./support/client.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

describe("by property", () => {
  const key = fc.stringMatching(/^[a-z]{1,4}$/);
  const leaf = fc.oneof(
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
  );
  const { json } = fc.letrec((tie) => ({
    json: fc.oneof(
      { maxDepth: 3 },
      leaf,
      fc.array(tie("json"), { maxLength: 4 }),
      fc.dictionary(key, tie("json"), { maxKeys: 4 }),
    ),
  }));
  const tree = fc
    .array(fc.record({ pick: fc.nat(), data: fc.dictionary(fc.constantFrom("n", "m"), json) }), { maxLength: 8 })
    .chain((nodes) =>
      fc.shuffledSubarray([..."abcdefgh"], { minLength: nodes.length, maxLength: nodes.length }).map((ids) =>
        nodes.map(({ pick, data }, index) => ({
          ...data,
          id: ids[index],
          // Only earlier nodes, so that there is no cycle; -1 is a root.
          parent: ids[(pick % (index + 1)) - 1] ?? null,
        })),
      ),
    );
  const patch = fc.record(
    {
      title: fc.option(fc.string()),
      score: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
      count: fc.option(fc.maxSafeInteger()),
      done: fc.option(fc.boolean()),
      due: fc.option(
        fc
          .date({ noInvalidDate: true, min: new Date("0001-01-01"), max: new Date("9999-01-01") })
          .map((date) => date.toISOString()),
      ),
      extra: json,
      body: fc.option(fc.string({ unit: "binary" })),
      tags: fc.option(fc.array(json, { maxLength: 6 })),
      cards: fc.option(
        fc.array(fc.oneof(json, fc.record({ id: fc.constantFrom("a", "b", "c"), v: leaf })), { maxLength: 6 }),
      ),
      outline: fc.option(tree),
      settings: fc.option(fc.dictionary(key, json)),
    },
    { requiredKeys: [] },
  );
  /** What JSON makes of it: no negative zero; and what jsonb can hold. */
  const asStored = (value: unknown) =>
    JSON.parse(
      JSON.stringify(value)
        .replaceAll("\\u0000", "\\ufffd")
        .replace(/\b1e\+?\d+/g, "$&"),
    );

  /** The order in which a projection lists nodes: parents first, siblings as given. */
  function ordered(nodes: { id?: string; parent: string | null }[] | null | undefined): unknown {
    if (!nodes) return nodes;
    const below = (parent: string | null): unknown[] =>
      nodes.filter((node) => node.parent === parent).flatMap((node) => [node, ...below(node.id ?? "")]);
    return below(null);
  }

  test("patch after patch, the projection is what was asked for, and a replica agrees", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(patch, { minLength: 1, maxLength: 5 }), async (patches) => {
        const { patch: apply, read, replica, id } = await fresh();
        let expected: Record<string, unknown> = nothing;
        for (const one of patches) {
          await apply(one);
          const outline = "outline" in one ? { outline: ordered(one.outline) } : {};
          expected = { ...expected, ...asStored({ ...one, ...outline }) };
          expect(asStored(await read())).toEqual(normalised(expected));
          await replica.pull();
        }
        const copy = `${id} copy`;
        const { snapshot } = await engine.call(id, "snapshot", [id]);
        await engine.call(id, "load", [copy, notes, snapshot, []]);
        expect((await engine.call(id, "project", [copy])).data).toEqual(await read());
        await engine.call(id, "load", [copy, notes, null, [replica.doc.export({ mode: "update" })]]);
        expect((await engine.call(id, "project", [copy])).data).toEqual(await read());
        await engine.call(id, "drop", [copy]);
        await engine.call(id, "drop", [id]);
      }),
      { numRuns: 150 },
    );
  });

  /** Integers beyond 2^53 are decimal strings in every kind but number. */
  function normalised(data: Record<string, unknown>): unknown {
    const exact = (value: unknown): unknown => {
      if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value))
        return BigInt(value).toString();
      if (Array.isArray(value)) return value.map(exact);
      if (typeof value === "object" && value !== null) {
        return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, exact(item)]));
      }
      return value;
    };
    return { ...(exact(data) as object), score: data.score };
  }

  test("replicas that edit and patches with stale bases converge", async () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("patch" as const), patch }),
      fc.record({ kind: fc.constant("stale" as const), patch, age: fc.nat({ max: 5 }) }),
      fc.record({ kind: fc.constant("type" as const), at: fc.nat(), text: fc.string({ minLength: 1, maxLength: 5 }) }),
      fc.record({ kind: fc.constant("card" as const), at: fc.nat(), to: fc.nat() }),
      fc.record({ kind: fc.constant("push" as const) }),
      fc.record({ kind: fc.constant("pull" as const) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 15 }), async (steps) => {
        const { patch: apply, replica, id } = await fresh();
        const versions: Uint8Array[] = [new Uint8Array([0])];
        const stored: Uint8Array[] = [];
        for (const one of steps) {
          if (one.kind === "patch" || one.kind === "stale") {
            const base = versions.at(-1 - (one.kind === "stale" ? one.age : 0)) ?? new Uint8Array([0]);
            const { update } = await (one.kind === "patch"
              ? apply(one.patch)
              : engine.call(id, "patch", [id, one.patch, { version: base }]));
            if (update) stored.push(update);
            versions.push((await engine.call(id, "exportFrom", [id, new Uint8Array([0])])).version);
          } else if (one.kind === "type") {
            const body = replica.doc.getText("body");
            // Between characters: Loro refuses a place inside one.
            const characters = [...body.toString()];
            body.insert(characters.slice(0, one.at % (characters.length + 1)).join("").length, one.text);
          } else if (one.kind === "card") {
            const cards = replica.doc.getMovableList("cards");
            if (cards.length > 1) cards.move(one.at % cards.length, one.to % cards.length);
            else cards.insert(0, `card ${one.at}`);
          } else if (one.kind === "push") {
            replica.doc.commit();
            const from = await engine.call(id, "exportFrom", [id, new Uint8Array([0])]);
            const known = replicaOf(engine, id);
            for (const update of from.updates) known.doc.import(update);
            stored.push(replica.doc.export({ mode: "update", from: known.doc.oplogVersion() }));
            await replica.push();
          } else await replica.pull();
        }
        await replica.push();
        await replica.pull();
        stored.push(replica.doc.export({ mode: "update" }));
        const copy = `${id} copy`;
        await engine.call(id, "load", [copy, notes, null, stored]);
        expect((await engine.call(id, "project", [copy])).data).toEqual(await projection(engine, id));
        const third = replicaOf(engine, id);
        await third.pull();
        // Asking a replica for a container makes an empty one appear in it.
        expect(withoutEmpty(third.doc.toJSON())).toEqual(withoutEmpty(replica.doc.toJSON()));
        await engine.call(id, "drop", [copy]);
        await engine.call(id, "drop", [id]);
      }),
      {
        numRuns: 100,
        examples: [
          // Loro gives the keys of an object in an operation in any order: it is the same operation nonetheless.
          [
            [
              { kind: "patch", patch: { tags: [{ a: { aa: null, i: "", h: "" } }] } },
              { kind: "pull" },
              { kind: "card", at: 0, to: 0 },
            ],
          ],
        ],
      },
    );
  });

  const withoutEmpty = (data: object) =>
    Object.fromEntries(
      Object.entries(data).filter(([, value]) => Object.keys(value as object | string).length > 0 || Number(value)),
    );
});
