import fc from "fast-check";
import { expect, it } from "vitest";
import { patchTo } from "../../src/http/console/revert.js";

const fields = { title: "string", body: "text", likes: "counter", tags: "list" };

it("patches what differs: counters by what is to be added, all else by what was there, null where nothing was", () => {
  const past = { title: "One", body: "We met.", likes: 2 };
  const now = { title: "One", body: "We did not.", likes: 7, tags: ["new"] };
  expect(patchTo(fields, now, past)).toEqual({ body: "We met.", likes: -5, tags: null });
  expect(patchTo(fields, past, now)).toEqual({ body: "We did not.", likes: 5, tags: ["new"] });
});

it("patches nothing where nothing differs, and no field that the table does not declare", () => {
  // What a document shows of a counter is a number, or null.
  const shown = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(fc.constantFrom("title", "body", "tags", "__proto__", "other"), fc.jsonValue()) },
    fc.tuple(fc.constant("likes"), fc.option(fc.double({ noNaN: true, noDefaultInfinity: true }))),
  );
  fc.assert(
    fc.property(fc.array(shown).map(Object.fromEntries), (data: Record<string, unknown>) => {
      expect(patchTo(fields, data, structuredClone(data))).toEqual({});
      for (const name of Object.keys(patchTo(fields, {}, data))) expect(fields).toHaveProperty(name);
    }),
  );
});
