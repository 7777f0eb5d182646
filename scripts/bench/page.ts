import { figure, quantile } from "../support/figures.js";

/** What is on the page of a run, in its order. */
export type Part =
  | { readonly is: "heading" | "failure"; readonly title: string; readonly text: string }
  | { readonly is: "table"; readonly rows: readonly (readonly string[])[] }
  | {
      readonly is: "distribution";
      readonly title: string;
      readonly unit: string;
      readonly values: Readonly<Record<string, readonly number[]>>;
    };
type Distribution = Extract<Part, { is: "distribution" }>;

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const text = (value: string) => value.replace(/[&<>"]/g, (letter) => escapes[letter] ?? letter);

/** The number that a figure begins with; undefined for what is none. */
export function numberIn(figure: string): number | undefined {
  const [found] = /^-?[\d,]+(\.\d+)?/.exec(figure.trim()) ?? [];
  return found === undefined ? undefined : Number(found.replaceAll(",", ""));
}

const colours = ["#0c7f88", "#c2550a", "#6a4bc4", "#3d7a2a", "#8a6d1f", "#8b3a62"];
const colourOf = (nth: number) => colours[nth % colours.length] ?? "";

const judging = new Set(["ratio", "at least"]);

/** Whether a ratio is what was wanted: "at least" is a number, or says "at most" itself. Undefined where nothing is wanted. */
export function isReached(ratio: string, wanted: string): boolean | undefined {
  const [found, limit] = [numberIn(ratio), numberIn(wanted.replace(/^(at most|≤) */, ""))];
  if (found === undefined || limit === undefined) return undefined;
  return /^(at most|≤)/.test(wanted) ? found <= limit : found >= limit;
}

/** A row's figures as bars: the longest is the largest of the row, since rows have units of their own. What judges them has none. */
function tableOf([heading = [], ...rows]: readonly (readonly string[])[]): string {
  const [ratioAt, wantedAt] = [heading.indexOf("ratio"), heading.indexOf("at least")];
  const line = (row: readonly string[]) => {
    const numbers = row.map((each, nth) => (nth === 0 || judging.has(heading[nth] ?? "") ? undefined : numberIn(each)));
    const largest = Math.max(...numbers.map((each) => each ?? 0));
    const reached = ratioAt < 0 || wantedAt < 0 ? undefined : isReached(row[ratioAt] ?? "", row[wantedAt] ?? "");
    const cells = row.slice(1).map((shown, before) => {
      const nth = before + 1;
      if (judging.has(heading[nth] ?? "")) {
        const verdict = nth === ratioAt && reached !== undefined ? ` class="${reached ? "reached" : "missed"}"` : "";
        return `<td${verdict}>${text(shown)}</td>`;
      }
      const share = largest > 0 ? (100 * (numbers[nth] ?? 0)) / largest : 0;
      return `<td><span class="bar" style="width:${share.toFixed(1)}%;background:${colourOf(before)}"></span>${text(shown)}</td>`;
    });
    return `<tr><th scope="row">${text(row[0] ?? "")}</th>${cells.join("")}</tr>`;
  };
  const head = heading.map((name) => `<th scope="col">${text(name)}</th>`).join("");
  return `<div class="table"><table><thead><tr>${head}</tr></thead><tbody>${rows.map(line).join("")}</tbody></table></div>`;
}

const size = { width: 760, height: 220, left: 52, right: 32, top: 12, bottom: 32 };
const shares = [0, 0.5, 0.9, 0.99, 0.999];
const steps = 400;

/**
 * Where a share stands: one further nine is one step further up, so that the slowest of a hundred, and of a thousand, have as much room as the
 * others.
 */
const height = (share: number) => Math.min(1, -Math.log10(1 - Math.min(share, 0.999) + 1e-9) / 3);

/** Which share of the values is at most so large, over a logarithmic axis: what is further left is faster, what leans right has a long tail. */
function distributionOf({ title, unit, values }: Distribution): string {
  const lines = Object.entries(values)
    .map(([name, list]) => ({ name, sorted: [...list].filter((value) => value > 0).sort((a, b) => a - b) }))
    .filter(({ sorted }) => sorted.length > 0);
  if (lines.length === 0) return "";
  const all = lines.flatMap(({ sorted }) => [sorted[0] ?? 1, sorted.at(-1) ?? 1]);
  const [from, to] = [Math.floor(Math.log10(Math.min(...all))), Math.ceil(Math.log10(Math.max(...all)))];
  const x = (value: number) =>
    size.left + ((Math.log10(value) - from) / Math.max(1, to - from)) * (size.width - size.left - size.right);
  const y = (share: number) => size.height - size.bottom - height(share) * (size.height - size.top - size.bottom);
  const curves = lines.map(({ sorted }, nth) => {
    const points = Array.from({ length: steps + 1 }, (_, step) => {
      // As many points in each nine.
      const share = 1 - 10 ** ((-3 * step) / steps);
      const value = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 1;
      return `${x(value).toFixed(1)},${y(share).toFixed(1)}`;
    });
    return `<polyline points="${points.join(" ")}" fill="none" stroke="${colourOf(nth)}" stroke-width="2"/>`;
  });
  const ticks = Array.from({ length: to - from + 1 }, (_, nth) => 10 ** (from + nth)).map(
    (value) =>
      `<line x1="${x(value)}" x2="${x(value)}" y1="${size.top}" y2="${size.height - size.bottom}"/><text x="${x(value)}" y="${size.height - 10}" text-anchor="middle">${Number(value.toPrecision(1))} ${text(unit)}</text>`,
  );
  const levels = shares.map(
    (share) =>
      `<line x1="${size.left}" x2="${size.width - size.right}" y1="${y(share)}" y2="${y(share)}"/><text x="${size.left - 8}" y="${y(share) + 4}" text-anchor="end">${Number((share * 100).toFixed(1))} %</text>`,
  );
  const keys = lines.map(
    ({ name, sorted }, nth) =>
      `<tr><th scope="row"><span class="key" style="background:${colourOf(nth)}"></span>${text(name)}</th>${[
        0.5, 0.9, 0.99,
      ]
        .map((share) => `<td>${figure(quantile(sorted, share), text(unit))}</td>`)
        .join("")}<td>${figure(sorted.at(-1) ?? 0, text(unit))}</td><td>${figure(sorted.length)}</td></tr>`,
  );
  return `<figure><figcaption>${text(title)}</figcaption><div class="table"><svg viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${text(title)}: which share took at most so long"><g class="grid">${ticks.join("")}${levels.join("")}</g>${curves.join("")}</svg></div><div class="table"><table><thead><tr><th scope="col"></th><th scope="col">p50</th><th scope="col">p90</th><th scope="col">p99</th><th scope="col">longest</th><th scope="col">measured</th></tr></thead><tbody>${keys.join("")}</tbody></table></div></figure>`;
}

const style = `:root{color-scheme:light dark;--ink:light-dark(#14201f,#e4ebea);--dim:light-dark(#5b6b6a,#9aa9a8);--ground:light-dark(#f6f7f7,#101615);--card:light-dark(#fff,#18201f);--line:light-dark(#dde3e3,#2c3837)}
body{max-width:900px;margin:40px auto;padding:0 16px;font:14px/20px system-ui,sans-serif;color:var(--ink);background:var(--ground)}
h1{font-size:24px;line-height:32px;margin:0}h2{margin:48px 0 4px;font-size:20px}p{margin:0 0 16px;color:var(--dim)}nav{display:flex;flex-wrap:wrap;gap:4px 16px}a{color:light-dark(#0c7f88,#4fc3cc)}
.table{overflow-x:auto;margin:16px 0;background:var(--card)}table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:8px 12px;border-top:1px solid var(--line);text-align:left;vertical-align:bottom}
th[scope=row]{font-weight:500}thead th{font-weight:500;color:var(--dim);font-size:12px;border-top:0}thead th:first-child{width:38%}.bar{display:block;height:6px;margin-bottom:4px;border-radius:3px;min-width:1px}
.reached::after,.missed::after{margin-left:6px}.reached::after{content:"✓";color:#3d7a2a}.missed::after{content:"✗";color:#c2550a}
figure{margin:16px 0;padding:16px;background:var(--card)}figcaption{font-weight:600;margin-bottom:8px}figure .table{margin:8px 0 0}figure svg{display:block;width:100%;min-width:560px}figure td,figure th{white-space:nowrap}.grid line{stroke:var(--line)}.grid text{font-size:11px;fill:var(--dim)}
figure th,figure td{padding:4px 12px}.key{display:inline-block;width:10px;height:10px;margin-right:8px;border-radius:2px}pre{max-height:400px;overflow:auto;white-space:pre-wrap;padding:16px;background:var(--card)}`;

const idOf = (title: string) => text(title.replaceAll(" ", "-"));

/** A page that needs nothing else: the tables of a run with bars, and how its latencies are distributed. */
export function pageOf(machine: string, parts: readonly Part[]): string {
  const body = parts.map((part) => {
    if (part.is === "table") return tableOf(part.rows);
    if (part.is === "distribution") return distributionOf(part);
    if (part.is === "failure")
      return `<p><strong>${text(part.title)} was not measured to the end.</strong></p><pre>${text(part.text)}</pre>`;
    return `<h2 id="${idOf(part.title)}">${text(part.title)}</h2><p>${text(part.text)}</p>`;
  });
  const links = parts.map((part) =>
    part.is === "heading" ? `<a href="#${idOf(part.title)}">${text(part.title)}</a>` : "",
  );
  const reading =
    "Bars are within their row. ✓ and ✗ say whether a ratio is what is wanted. Curves show which share of all took at most so long: further left is faster, and each step up is one nine more, so the upper two thirds are the slowest tenth.";
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>perch: benchmarks</title><style>${style}</style><body><h1>Benchmarks</h1><p>${text(machine)}, ${new Date().toISOString().slice(0, 10)}. ${reading}</p><nav>${links.join("")}</nav>${body.join("\n")}</body></html>\n`;
}
