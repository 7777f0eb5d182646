import { expect, it } from "vitest";
import { type OpenDocument, putBack, type Task } from "../../../src/documents/live/open-document.js";
import { createQueue } from "../../../src/lib/queue.js";

const task = (order: number): Task => ({ kind: "exclusive", order, run: () => Promise.resolve(), reject() {} });
const many = 50_000;

it("takes very many back to their places, and gives them out one by one, in a moment", () => {
  const line: OpenDocument["line"] = createQueue<Task>();
  for (let order = 0; order < 3 * many; order++) line.push(task(order));
  const taken = line.take(2 * many);
  const began = performance.now();
  putBack(
    { line },
    taken.filter(({ order }) => order % 2 === 1),
  );
  putBack(
    { line },
    taken.filter(({ order }) => order % 2 === 0),
  );
  expect([...line].slice(0, 3).map(({ order }) => order)).toEqual([0, 1, 2]);
  for (let order = 0; order < 3 * many; order++) if (line.shift()?.order !== order) expect.fail(`${order} is missing`);
  expect([line.length, line.first, line.shift()]).toEqual([0, undefined, undefined]);
  expect(performance.now() - began).toBeLessThan(2_000);
});
