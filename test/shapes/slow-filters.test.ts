import { expect, it } from "vitest";
import { createSlowFilters } from "../../src/shapes/slow-filters.js";

const asked = (where: string, userId = "ada") => ({ schema: "public", table: "boats", where, userId });

it("slow filters are counted, the dearest first, and fast ones are not", () => {
  const filters = createSlowFilters();
  filters.note(asked("a"), 49, false);
  filters.note(asked("b"), 60, false);
  filters.note({ ...asked("c"), schema: "yard" }, 100, false);
  filters.note(asked("b"), 90, true);
  expect(filters.all()).toMatchObject([
    { table: "boats", where: "b", times: 2, totalMs: 150, slowestMs: 90, ended: 1, userId: "ada" },
    { table: "yard.boats", where: "c", times: 1, ended: 0 },
  ]);
});

it("what is kept of slow filters has a bound, and nobody's hide those of the others", () => {
  const filters = createSlowFilters();
  filters.note(asked("mine", "bob"), 60, false);
  for (let nth = 0; nth < 100; nth++) filters.note(asked(`${nth}${"x".repeat(10_000)}`), 100, false);
  const all = filters.all();
  expect(all.filter(({ userId }) => userId === "ada")).toHaveLength(10);
  expect(all.filter(({ userId }) => userId === "bob")).toHaveLength(1);
  expect(Math.max(...all.map(({ where }) => where.length))).toBe(1_000);
  for (let nth = 0; nth < 100; nth++) filters.note(asked("x", `user${nth}`), 100, false);
  expect(filters.all()).toHaveLength(20);
});
