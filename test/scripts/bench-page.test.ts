import { expect, it } from "vitest";
import { isReached, numberIn, pageOf } from "../../scripts/bench/page.js";

it("reads the number that a figure begins with", () => {
  expect(["1,700", "5.25 ms", "0.9", "–", "", "yes"].map(numberIn)).toEqual([
    1_700,
    5.25,
    0.9,
    undefined,
    undefined,
    undefined,
  ]);
});

it("says whether a ratio is what is wanted", () => {
  const asked = [
    ["1.2", "1.2"],
    ["1.19", "1.2"],
    ["2.1", "at most 2"],
    ["0.26", ""],
  ] as const;
  expect(asked.map(([ratio, wanted]) => isReached(ratio, wanted))).toEqual([true, false, false, undefined]);
});

it("draws the rows of a table as bars, and latencies as their distribution", () => {
  const page = pageOf("Node, 2 × a processor", [
    { is: "heading", title: "gateway", text: "typing <fast>" },
    {
      is: "table",
      rows: [
        ["10 documents", "perch", "reference", "ratio", "at least"],
        ["edits/s", "1,000", "500", "2.00", "1"],
        ["joins/s", "10", "20", "0.50", "0.8"],
      ],
    },
    {
      is: "distribution",
      title: "keystroke to reader",
      unit: "ms",
      values: { perch: [1, 2, 4, 100], reference: [], inner: [0.5] },
    },
    { is: "failure", title: "gateway", text: "Error: <no> server" },
  ]);
  expect(page).toContain("&lt;no&gt; server");
  expect([...page.matchAll(/width:([\d.]+)%;background/g)].map(([, width]) => width)).toEqual([
    ...["100.0", "50.0"],
    ...["50.0", "100.0"],
  ]);
  expect([...page.matchAll(/<td class="(\w+)">([\d.]+)/g)].map(([, verdict, ratio]) => `${verdict} ${ratio}`)).toEqual([
    "reached 2.00",
    "missed 0.50",
  ]);
  expect(page).toContain("typing &lt;fast&gt;");
  // A curve for each that has values, from the axis up to the top.
  const curves = [...page.matchAll(/<polyline points="([^"]+)"/g)].map(([, points = ""]) => points.split(" "));
  expect(curves).toHaveLength(2);
  for (const points of curves) {
    const heights = points.map((point) => Number(point.split(",")[1]));
    expect(heights).toEqual([...heights].sort((a, b) => b - a));
  }
  expect(page).not.toMatch(/<script|https?:\/\//);
});
