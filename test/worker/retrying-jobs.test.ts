import { expect, it, onTestFinished, vi } from "vitest";
import { createContention } from "../../src/database/contention.js";
import { thrownByDriver } from "../../src/database/errors.js";
import type { DocumentKey } from "../../src/documents/key.js";
import type { WorkerLog } from "../../src/worker/log.js";
import { createRetryingJobs } from "../../src/worker/retrying-jobs.js";

const key = (recordId: string, spaceId = "team"): DocumentKey => ({ spaceId, appId: "a", tableName: "t", recordId });
const jobsOf = (concurrency: number, warn: WorkerLog["warn"] = () => undefined) =>
  createRetryingJobs({
    what: "doing it",
    concurrency,
    log: { info: () => undefined, warn },
    contention: createContention({ places: 1, sliceMs: 5, patienceMs: 5 }),
    takes: ({ spaceId }) => spaceId,
  });

/** The rests that jobs of a document are given after so many failures with this error. */
async function rests(error: unknown, failures: number): Promise<number[]> {
  const given: number[] = [];
  const jobs = jobsOf(1, (details) => given.push((details as { rest: number }).rest));
  for (let n = 0; n < failures; n++) {
    await jobs.run(key("d"), async () => {
      throw error;
    });
  }
  return given;
}

it("a document rests ever longer while its own error lasts, at most a minute", async () => {
  const own = Object.assign(new Error("division by zero"), { code: "22012" });
  expect(await rests(own, 9)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
});

it.each([
  ["the connection broke", { code: "ECONNRESET" }],
  ["the database shut down", { code: "57P01" }],
  ["the disk is full", { code: "53100" }],
])("when %s, it is tried again within 5 s however long that lasted", async (_, error) => {
  expect(Math.max(...(await rests(thrownByDriver(Object.assign(new Error("away"), error)), 12)))).toBe(5_000);
});

it("what somebody else holds is waited for without a rest, and without a place among the others", async () => {
  const warnings: unknown[] = [];
  const jobs = jobsOf(2, (details) => warnings.push(details));
  let held = true;
  let tries = 0;
  const needsIt = async () => {
    tries += 1;
    await new Promise((done) => setTimeout(done, 5));
    if (held) throw Object.assign(new Error("lock timeout"), { code: "55P03" });
  };
  const waiting = Array.from({ length: 10 }, (_, n) => jobs.run(key(`held ${n}`), needsIt));
  while (tries < 5) await new Promise((done) => setTimeout(done, 1));
  for (let n = 0; n < 10; n++) expect(await jobs.run(key(`${n}`, "other"), async () => undefined)).toBe(true);
  expect(jobs.counts()).toMatchObject({ working: 10 });
  held = false;
  expect(await Promise.all(waiting)).toEqual(Array.from({ length: 10 }, () => true));
  expect(warnings).toEqual([]);
});

it("what waits for somebody else is given up when it is all to end", async () => {
  const jobs = jobsOf(2);
  const needsIt = async () => {
    throw Object.assign(new Error("lock timeout"), { code: "55P03" });
  };
  const waiting = [1, 2, 3].map((n) => jobs.run(key(`held ${n}`), needsIt));
  await jobs.settled();
  expect(await Promise.all(waiting)).toEqual([false, false, false]);
});

it("what is not tried again when its rest is over is forgotten: it was deleted, or done by others", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const jobs = jobsOf(1);
  await jobs.run(key("gone"), () => Promise.reject(new Error("no")));
  expect(jobs.counts().resting).toBe(1);
  vi.advanceTimersByTime(59_000);
  expect(jobs.counts().resting).toBe(1);
  vi.advanceTimersByTime(60_000);
  expect(jobs.counts().resting).toBe(0);
});
