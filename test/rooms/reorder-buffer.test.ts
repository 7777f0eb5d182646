import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { PerchError } from "../../src/errors.js";
import { createReorderBuffer } from "../../src/rooms/reorder-buffer.js";
import { fakeClock } from "../support/fake-clock.js";

const missing = () => new PerchError("PE422", "it builds on edits that are not here", { missing: { "1": 4 } });
const batch = (n: number) => [Uint8Array.of(n)];

/** A document that answers each attempt when the test says so. */
function slowDocument() {
  const attempts: { n: number | undefined; resolve(): void; reject(error: unknown): void }[] = [];
  const reorderBuffer = createReorderBuffer({
    append: ([update]) =>
      new Promise((resolve, reject) => attempts.push({ n: update?.[0], resolve: () => resolve(0), reject })),
    statusOf: (error) => (error instanceof PerchError ? 4 : 1),
  });
  const answers: [number, number][] = [];
  return {
    reorderBuffer,
    answers,
    submit: (n: number) => void reorderBuffer.submit(batch(n)).then((status) => answers.push([n, status])),
    /** Answers the oldest attempt of a batch that is under way. */
    async answer(n: number, error?: unknown) {
      const at = attempts.findIndex((attempt) => attempt.n === n);
      const [attempt] = attempts.splice(at, 1);
      if (at < 0 || attempt === undefined) throw new Error(`batch ${n} is not being tried`);
      if (error === undefined) attempt.resolve();
      else attempt.reject(error);
      await vi.advanceTimersByTimeAsync(0);
    },
    trying: () => attempts.map(({ n }) => n),
  };
}

describe("what builds on a batch that comes later", () => {
  let timers: () => string[];
  beforeEach(() => {
    timers = fakeClock("rooms/reorder-buffer.ts");
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("waits for it, and is tried again in its order", async () => {
    const { submit, answer, answers, trying } = slowDocument();
    submit(2);
    submit(3);
    await answer(2, missing());
    await answer(3, missing());
    submit(1);
    await answer(1);
    expect(trying()).toEqual([2, 3]);
    await answer(2);
    await answer(3);
    expect(answers).toEqual([
      [1, 0],
      [2, 0],
      [3, 0],
    ]);
  });

  it("is tried again when that was committed before the refusal came", async () => {
    const { submit, answer, answers } = slowDocument();
    submit(2);
    submit(3);
    submit(1);
    await answer(1);
    await answer(2, missing());
    await answer(3, missing());
    expect(answers).toEqual([[1, 0]]);
    await answer(2);
    await answer(3);
    expect(answers.slice(1)).toEqual([
      [2, 0],
      [3, 0],
    ]);
  });

  it("waits as long as that takes to be committed, and then only so long", async () => {
    const { submit, answer, answers } = slowDocument();
    submit(2);
    await answer(2, missing());
    submit(1);
    await vi.advanceTimersByTimeAsync(25_000);
    expect(answers).toEqual([]);
    await answer(1, new Error("the database is away"));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(answers).toEqual([
      [1, 1],
      [2, 4],
    ]);
  });

  it("is refused when it never comes, however many others do, after a few attempts", async () => {
    const { submit, answer, answers, trying } = slowDocument();
    submit(9);
    let refusals = 0;
    for (let n = 1; n < 8; n++) {
      while (trying().includes(9)) {
        await answer(9, missing());
        refusals += 1;
      }
      submit(n);
      await answer(n);
    }
    expect(refusals).toBe(4);
    expect(answers).toContainEqual([9, 4]);
    expect(answers.filter(([, status]) => status === 0)).toHaveLength(7);
  });

  it("is answered when the room is left", async () => {
    const { reorderBuffer, submit, answer, answers } = slowDocument();
    submit(2);
    await answer(2, missing());
    expect(timers()).toHaveLength(1);
    reorderBuffer.close();
    await vi.advanceTimersByTimeAsync(0);
    expect(answers).toEqual([[2, 4]]);
    expect(timers()).toEqual([]);
  });
});
