import { expect, it } from "vitest";
import { parseFigures, quantile, rate, type Sample, sum } from "../../../src/client/console/figures.js";
import { createMetrics } from "../../../src/lib/metrics.js";

/** What a process shows at a moment. */
function at(seconds: number, work: (metrics: ReturnType<typeof createMetrics>) => void): Sample {
  const metrics = createMetrics();
  work(metrics);
  return { at: seconds * 1_000, figures: parseFigures(metrics.text()) };
}

it("reads what a process shows: with labels, without, and histograms", () => {
  const sample = at(0, (metrics) => {
    const requests = metrics.counter("perch_requests_total", "Requests.", ["path", "status"]);
    requests.count(3, "/v1/push", 200);
    requests.count(2, "/v1/pull", 200);
    metrics.gauge("perch_sockets", "Sockets.", () => 7);
  });
  expect(sum(sample, "perch_sockets")).toBe(7);
  expect(sum(sample, "perch_requests_total")).toBe(5);
  expect(sum(sample, "perch_requests_total", (labels) => labels.includes('path="/v1/push"'))).toBe(3);
  expect(sum(sample, "perch_requests")).toBeUndefined();
});

it("tells how fast a counter grew, also over a restart of its process", () => {
  const edits = (seconds: number, count: number) =>
    at(seconds, (metrics) => metrics.counter("perch_edits_total", "Edits.", []).count(count));
  expect(rate(edits(0, 10), edits(2, 30), "perch_edits_total")).toBe(10);
  expect(rate(edits(0, 10), edits(2, 4), "perch_edits_total")).toBe(2);
  expect(rate(edits(2, 10), edits(2, 14), "perch_edits_total")).toBeNull();
  expect(rate(edits(0, 1), edits(1, 2), "perch_others_total")).toBeNull();
});

it("tells a quantile of what was seen in between, and nothing where nothing was", () => {
  const seen = (seconds: number, values: number[]) =>
    at(seconds, (metrics) => {
      const histogram = metrics.histogram("perch_commit_seconds", "Commits.");
      for (const value of values) histogram.observe(value);
    });
  const slow = Array<number>(100).fill(0.2);
  const fast = Array<number>(100).fill(0.003);
  const median = quantile(seen(0, slow), seen(2, [...slow, ...fast]), "perch_commit_seconds", 0.5);
  // Of the bucket from 2.5 to 5 ms, in which all of them are.
  expect(median).toBeGreaterThan(0.0025);
  expect(median).toBeLessThan(0.005);
  expect(quantile(seen(0, slow), seen(2, slow), "perch_commit_seconds", 0.5)).toBeNull();
  expect(quantile(seen(0, []), seen(2, [99]), "perch_commit_seconds", 0.99)).toBe(30);
});
