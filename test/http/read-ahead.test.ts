import { expect, it } from "vitest";
import { createReadAhead } from "../../src/http/shape/read-ahead.js";
import type { RowsPage } from "../../src/shapes/queries.js";
import { until } from "../gateway/support.js";

const page: RowsPage = {
  texts: [],
  frame: { opening: "", keys: [], names: [], ending: "" },
  lastKey: null,
  snapshot: undefined,
  definitions: [],
};

/** Rooms that are taken, and how many of them are not given back. */
function rooms() {
  let taken = 0;
  const room = () => {
    taken += 1;
    let given = false;
    const release = () => {
      if (!given) taken -= 1;
      given = true;
    };
    return { resize: () => undefined, release };
  };
  return { room, taken: () => taken };
}

it("a chunk that was read ahead is given once, to its user, under its name, and its room is free then", async () => {
  const { room, taken } = rooms();
  const ahead = createReadAhead();
  ahead.begin("ada", "shape,2", room(), async () => page);
  expect(await ahead.take("ben", "shape,2")).toBe(undefined);
  expect(await ahead.take("ada", "shape,3")).toBe(undefined);
  expect(taken()).toBe(1);
  expect(await ahead.take("ada", "shape,2")).toBe(page);
  expect(await ahead.take("ada", "shape,2")).toBe(undefined);
  expect(taken()).toBe(0);
  ahead.close();
});

it("is held one for each user, a few for all, and for a moment, and what fails is read again by whoever asks", async () => {
  const { room, taken } = rooms();
  const ahead = createReadAhead(50);
  let reads = 0;
  const read = async () => {
    reads += 1;
    return page;
  };
  ahead.begin("ada", "1", room(), read);
  ahead.begin("ada", "2", room(), read);
  expect({ reads, taken: taken() }).toEqual({ reads: 1, taken: 1 });
  expect(await ahead.take("ada", "1")).toBe(page);
  ahead.begin("ada", "1", room(), read);
  await new Promise(setImmediate);
  ahead.begin("ada", "2", room(), read);
  expect(await ahead.take("ada", "2")).toBe(page);
  ahead.begin("ada", "3", room(), read);
  for (let nth = 0; nth < 20; nth++) ahead.begin(`user${nth}`, "1", room(), async () => page);
  expect(taken()).toBe(8);
  await until(() => taken() === 0);
  ahead.begin("ada", "1", room(), async () => {
    throw new Error("away");
  });
  expect(await ahead.take("ada", "1")).toBe(undefined);
  ahead.begin("ada", "1", room(), async () => page);
  ahead.close();
  ahead.begin("ada", "1", room(), async () => page);
  expect(taken()).toBe(0);
});
