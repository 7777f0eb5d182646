import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { jsonMembers, someOutsideStrings, writtenOut } from "../../src/lib/json-outline.js";

const pieces = async (text: string) =>
  (await jsonMembers(text, 1_000))?.map(({ name, start, end }) => [name, text.slice(start, end)]);

describe("the outline of JSON", () => {
  it("has the members that JSON.parse finds, whatever is in them and however they are spaced", async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.constantFrom(0, 1, "\t\n"), async (value, space) => {
        const text = ` ${JSON.stringify(value, null, space)}\n`;
        const found = await pieces(text);
        if (typeof value !== "object" || value === null) expect(found).toBeUndefined();
        else if (Array.isArray(value))
          expect(found?.map(([, each]) => JSON.parse(each ?? ""))).toEqual(JSON.parse(text));
        else {
          const read = found?.map(([name, each]) => [name, JSON.parse(each ?? "")]);
          expect(Object.fromEntries(read ?? [])).toEqual(JSON.parse(text));
        }
      }),
    );
  });

  it("keeps every letter of a member, and finds one by its name however that is written", async () => {
    expect(await pieces('{"a\\u0062" : 1.0e400 ,"x":"\\\\\\"}]",  "__proto__":[ ]}')).toEqual([
      ["ab", "1.0e400"],
      ["x", '"\\\\\\"}]"'],
      ["__proto__", "[ ]"],
    ]);
    expect([await pieces("[]"), await pieces("{ }")]).toEqual([[], []]);
  });

  it.each([
    "",
    "1",
    "null",
    "[",
    "{",
    '{"a":1',
    "[1,]",
    "[,1]",
    '{"a"}',
    "{1:2}",
    "[1] 2",
    '"[]"',
    '{"\\x":1}',
    "]",
    '["',
  ])("is none of %s", async (text) => expect(await pieces(text)).toBeUndefined());

  it("tells what is in strings from what is not", async () => {
    const isThere = (text: string) => someOutsideStrings(text, (part) => part.includes("1e9"));
    const found = await Promise.all(
      ['["1e9"]', '["\\"1e9"]', '["\\\\",1e9]', "1e9", '["\\\n",1e9', '["', ""].map(isThere),
    );
    expect(found).toEqual([false, false, true, true, true, false, false]);
  });

  it("tells how much longer numbers are without their exponents, outside of strings", async () => {
    const lengths = [
      "[1e3,2.5E+10,-1e-7]",
      '{"1e5":"1e5","\\"1e5":1e2}',
      "[1e999,1e1000,1e131071]",
      "true",
      '["\\',
      "1e",
    ];
    expect(await Promise.all(lengths.map(writtenOut))).toEqual([20, 2, 999, 0, 0, 0]);
  });

  it("takes no more than a turn of the event loop at once, of whatever is sent", async () => {
    const many = 2 ** 20;
    for (const text of [`[${"1e9,".repeat(many)}0]`, `{"a":${"[".repeat(many)}`, `["${'\\\\\\"'.repeat(many)}"]`]) {
      let turns = 0;
      const counting = setInterval(() => turns++, 0);
      await jsonMembers(text, 10_000_000);
      await someOutsideStrings(text, () => false);
      await writtenOut(text);
      clearInterval(counting);
      expect(turns).toBeGreaterThan(3);
    }
    expect(await jsonMembers(`[${"0,".repeat(10)}0]`, 10)).toBeUndefined();
  });
});
