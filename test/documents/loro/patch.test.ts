import { afterAll, describe, expect, test } from "vitest";
import { createDocumentEngine } from "../../../src/documents/loro/engine.js";
import { createFresh, full, nothing } from "./support/client.js";

const engine = createDocumentEngine({ threads: 1 });
afterAll(() => engine.close());
const fresh = createFresh(engine);

describe("a patch", () => {
  test("writes every kind, and the projection gives back what was written", async () => {
    const { patch, read } = await fresh();
    expect(await read()).toEqual(nothing);
    const { update } = await patch(full);
    expect(update).toBeInstanceOf(Uint8Array);
    expect(await read()).toEqual(full);
  });

  test("that says what is so already makes no update", async () => {
    const { patch } = await fresh();
    const { likes: _likes, ...rest } = full;
    await patch(rest);
    expect((await patch(rest)).update).toBeNull();
  });

  test("keeps integers integers, and exact beyond 2^53", async () => {
    const { patch, read, replica } = await fresh();
    await patch(
      '{"count": 9007199254740993, "score": 3.0, "extra": {"n": -12345678901234567890, "s": "9007199254740993"}}',
    );
    expect(await read()).toMatchObject({
      count: "9007199254740993",
      score: 3,
      extra: { n: "-12345678901234567890", s: "9007199254740993" },
    });
    await patch({ count: 3.0 });
    expect(JSON.stringify((await read()).count)).toBe("3");
    await patch({ count: 2n ** 53n });
    expect((await read()).count).toBe("9007199254740992");
    await patch({ count: "42" });
    expect((await read()).count).toBe(42);
    await replica.pull();
    replica.doc.getMap("fields").set("count", 2 ** 60);
    await replica.push();
    expect(await read()).toMatchObject({ count: "1152921504606846976" });
  });

  test("null clears every kind, text too, and an empty value is not null", async () => {
    const { patch, read, replica } = await fresh();
    await patch(full);
    await patch(nothing);
    expect(await read()).toEqual(nothing);
    const empty = { body: "", tags: [], cards: [], outline: [], settings: {} };
    await patch({ ...empty, likes: 0 });
    expect(await read()).toMatchObject({ ...empty, likes: 0 });
    await patch(nothing);
    expect(await read()).toEqual(nothing);
    // A Loro client that writes and empties leaves the empty value.
    await replica.pull();
    replica.doc.getText("body").insert(0, "x");
    await replica.push();
    expect(await read()).toMatchObject({ body: "x" });
  });

  test("that gives empty values to fields nobody has touched sets them", async () => {
    const { patch, read } = await fresh();
    const empty = { body: "", tags: [], cards: [], outline: [], likes: 0, settings: {} };
    await patch(empty);
    expect(await read()).toMatchObject(empty);
    expect((await patch(empty)).update).toBeNull();
  });

  test("is checked whole before anything of it is applied", async () => {
    const { patch, read } = await fresh();
    await patch({ title: "before" });
    await expect(patch({ title: "after", count: "many" })).rejects.toMatchObject({ code: "PE422" });
    expect(await read()).toMatchObject({ title: "before" });
  });

  test("leaves alone the fields it does not name", async () => {
    const { patch, read } = await fresh();
    await patch(full);
    await patch({ title: "other" });
    expect(await read()).toEqual({ ...full, title: "other" });
  });

  test.each([
    [{ nope: 1 }, "nope", "a declared field", "the number 1"],
    [{ title: 5 }, "title", "a string", "the number 5"],
    [{ score: "5" }, "score", "a finite number", 'the string "5"'],
    [{ score: Number.NaN }, "score", "a finite number", "the number NaN"],
    [{ count: 1.5 }, "count", "an integer, or one as a decimal string", "the number 1.5"],
    [{ count: "1e3" }, "count", "an integer, or one as a decimal string", 'the string "1e3"'],
    [{ done: 0 }, "done", "true or false", "the number 0"],
    [{ due: "tomorrow" }, "due", "an ISO 8601 date, or time with its offset", 'the string "tomorrow"'],
    [{ due: "2026-02-30" }, "due", "an ISO 8601 date, or time with its offset", 'the string "2026-02-30"'],
    [{ extra: { when: new Date(0) } }, "extra.when", "a JSON value", "an object"],
    [{ body: ["x"] }, "body", "a string", "a list of 1"],
    [{ tags: "x" }, "tags", "a list", 'the string "x"'],
    [{ cards: {} }, "cards", "a list", "an object"],
    [{ likes: "1" }, "likes", "a finite number to add, up to 2^53", 'the string "1"'],
    [{ likes: 1e308 }, "likes", "a finite number to add, up to 2^53", "the number 1e+308"],
    [{ settings: [] }, "settings", "an object", "a list of 0"],
    [{ outline: {} }, "outline", "a list of nodes {id, parent, …}", "an object"],
    [{ outline: ["x"] }, "outline[0]", "a node {id, parent, …}", 'the string "x"'],
    [{ outline: [{ parent: null }] }, "outline[0].id", "a string that is not empty", "nothing"],
    [
      { outline: [{ id: "a" }, { id: "a" }] },
      "outline[1].id",
      "an id of its own",
      'the string "a" for the second time',
    ],
    [
      { outline: [{ id: "a", parent: "b" }] },
      "outline[id=a].parent",
      "the id of another node, or null",
      'the string "b"',
    ],
    [
      {
        outline: [
          { id: "a", parent: "b" },
          { id: "b", parent: "a" },
        ],
      },
      "outline[0].parent",
      "a parent that is not below the node itself",
      'the string "b"',
    ],
  ])("%j is refused, naming table, field, expected and got", async (bad, field, expected, got) => {
    const { patch, read } = await fresh();
    await expect(patch(bad)).rejects.toMatchObject({
      name: "PerchError",
      code: "PE422",
      detail: { table: "notes", field, expected, got },
    });
    expect(await read()).toEqual(nothing);
  });

  test("nested deeper than the limit is refused as too large", async () => {
    const { patch } = await fresh();
    let deep: unknown = 1;
    for (let level = 0; level < 1_000; level++) deep = [deep];
    await expect(patch({ extra: deep })).rejects.toMatchObject({ code: "PE413", detail: { limit: "depth", max: 100 } });
    await expect(patch({ tags: deep as unknown[] })).rejects.toMatchObject({ code: "PE413" });
    const outline = Array.from({ length: 1_000 }, (_, index) => ({
      id: `${index}`,
      parent: index ? `${index - 1}` : null,
    }));
    await expect(patch({ outline })).rejects.toMatchObject({ code: "PE413", detail: { field: "outline" } });
    await expect(patch("{")).rejects.toMatchObject({ code: "PE422" });
    await expect(patch("[1]")).rejects.toMatchObject({ code: "PE422", detail: { got: "a list of 1" } });
  });
});
