import fc from "fast-check";
import { expect, it } from "vitest";
import { parseRoute, to } from "../../../src/client/console/address.js";
import { differences, textDifference } from "../../../src/client/console/difference.js";
import { type Access, explain } from "../../../src/client/console/explain.js";
import { lanesOf } from "../../../src/client/console/lanes.js";

it("names every place at which two values differ, and no other", () => {
  expect(differences({ a: 1, b: { c: [1, 2] } }, { a: 1, b: { c: [1, 3, 4] }, d: null })).toEqual([
    { path: "b.c[1]", before: 2, after: 3 },
    { path: "b.c[2]", before: undefined, after: 4 },
    { path: "d", before: undefined, after: null },
  ]);
  expect(differences([1], { 0: 1 })).toEqual([{ path: "(all)", before: [1], after: { 0: 1 } }]);
  fc.assert(
    fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
      const text = (value: unknown) => JSON.stringify(value);
      expect(differences(a, structuredClone(a))).toEqual([]);
      if (text(a) === text(b)) return;
      for (const { before, after } of differences(a, b)) expect(Object.is(before, after)).toBe(false);
    }),
  );
});

it("shows where a text was edited: what is before, taken out, put in and behind makes up both", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), fc.string(), (head, tail, a, b) => {
      const [before, after] = [head + a + tail, head + b + tail];
      const found = textDifference(before, after);
      expect(found.head + found.removed + found.tail).toBe(before);
      expect(found.head + found.added + found.tail).toBe(after);
    }),
  );
});

it("draws a tree so that no line of one branch runs over a node of another", () => {
  const tree = fc
    .array(fc.nat({ max: 30 }), { maxLength: 30 })
    .map((parents) =>
      parents.map((pick, nth) => ({ id: String(nth), parent_id: nth === 0 ? null : String(pick % nth) })).reverse(),
    );
  fc.assert(
    fc.property(tree, (nodes) => {
      const placed = lanesOf(nodes);
      for (const [row, { lane, parentRow }] of placed.entries()) {
        expect(nodes[row]?.parent_id ?? null).toBe(parentRow === undefined ? null : (nodes[parentRow]?.id ?? null));
        // The line goes down in the lane of its child, and bends to its parent below the row above that.
        for (let between = row + 1; between < (parentRow ?? row); between++)
          expect(placed[between]?.lane).not.toBe(lane);
      }
    }),
  );
});

it("keeps every name in its part of an address", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1 })), fc.string(), (parts, value) => {
      const route = parseRoute(to(parts, { of: value }));
      expect(route.parts).toEqual(parts);
      expect(route.query.get("of") ?? "").toBe(value);
    }),
  );
  expect(parseRoute("#/%").parts).toEqual(["%"]);
});

it("says first what decides whether somebody sees something", () => {
  const access: Access = {
    personal: false,
    others_personal: false,
    created: true,
    seq: 3,
    members: true,
    role: null,
    reads: false,
    writes: false,
    kind: null,
    rules: null,
    record: null,
    waiting: 0,
  };
  const first = (change: Partial<Access>, record?: string) =>
    explain("ada", "team", record, { ...access, ...change })[0];
  expect(first({ personal: true })).toMatchObject({
    says: "yes",
    text: expect.stringContaining("personal space of ada"),
  });
  expect(first({ others_personal: true })).toMatchObject({ says: "no" });
  expect(first({ role: "viewer", reads: true })).toMatchObject({
    says: "yes",
    text: expect.stringContaining("does not write"),
  });
  expect(first({})).toMatchObject({ says: "no", text: expect.stringContaining("no member") });
  expect(first({ members: false })).toMatchObject({ says: "no", text: expect.stringContaining("managed by tokens") });
  const texts = explain("ada", "team", "t1", {
    ...access,
    kind: "synced",
    rules: { row_filter: "owner = perch.current_user_id()", columns: null, column_roles: { salary: ["owner"] } },
  }).map(({ text }) => text);
  expect(texts.join("\n")).toMatch(/owner = perch\.current_user_id\(\)\n.*salary is only for: owner/);
  const deleted = { deleted: true, seq: 9, user_id: "bob" };
  expect(explain("ada", "team", "t1", { ...access, kind: "records", record: deleted }).at(-1)?.text).toContain(
    "deleted",
  );
});
