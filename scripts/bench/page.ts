/** What is on the page of a run, in its order. */
export type Part =
  | { readonly is: "heading"; readonly title: string; readonly text: string }
  | { readonly is: "table"; readonly rows: readonly (readonly string[])[] }
  | {
      readonly is: "distribution";
      readonly title: string;
      readonly unit: string;
      readonly values: Readonly<Record<string, readonly number[]>>;
    };

const escapes: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const text = (value: string) => value.replace(/[&<>"]/g, (letter) => escapes[letter] ?? letter);

/** The number that a figure begins with; undefined for what is none. */
export function numberIn(figure: string): number | undefined {
  const [found] = /^-?[\d,]+(\.\d+)?/.exec(figure.trim()) ?? [];
  return found === undefined ? undefined : Number(found.replaceAll(",", ""));
}

const colours = ["#0c7f88", "#c2550a", "#6a4bc4", "#3d7a2a", "#8a6d1f", "#8b3a62"];
const colourOf = (nth: number) => colours[nth % colours.length] ?? "";

/** A row's figures as bars: the longest is the largest of the row, since rows have units of their own. */
function tableOf([heading = [], ...rows]: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]) => {
    const numbers = row.slice(1).map(numberIn);
    const largest = Math.max(...numbers.map((each) => each ?? 0));
    const cells = row.slice(1).map((figure, nth) => {
      const share = largest > 0 ? (100 * (numbers[nth] ?? 0)) / largest : 0;
      return `<td><span class="bar" style="width:${share.toFixed(1)}%;background:${colourOf(nth)}"></span>${text(figure)}</td>`;
    });
    return `<tr><th scope="row">${text(row[0] ?? "")}</th>${cells.join("")}</tr>`;
  };
  const head = heading.map((name) => `<th scope="col">${text(name)}</th>`).join("");
  return `<table><thead><tr>${head}</tr></thead><tbody>${rows.map(line).join("")}</tbody></table>`;
}

const size = { width: 760, height: 260, left: 48, right: 16, top: 12, bottom: 32 };
const steps = 200;

/** Which share of the values is at most so large, over a logarithmic axis: what is further left is faster, a flat end is a long tail. */
function distributionOf({ title, unit, values }: Extract<Part, { is: "distribution" }>): string {
  const lines = Object.entries(values)
    .map(([name, list]) => ({ name, sorted: [...list].filter((value) => value > 0).sort((a, b) => a - b) }))
    .filter(({ sorted }) => sorted.length > 0);
  if (lines.length === 0) return "";
  const all = lines.flatMap(({ sorted }) => [sorted[0] ?? 1, sorted.at(-1) ?? 1]);
  const [from, to] = [Math.floor(Math.log10(Math.min(...all))), Math.ceil(Math.log10(Math.max(...all)))];
  const x = (value: number) =>
    size.left + ((Math.log10(value) - from) / Math.max(1, to - from)) * (size.width - size.left - size.right);
  const y = (share: number) => size.height - size.bottom - share * (size.height - size.top - size.bottom);
  const curves = lines.map(({ sorted }, nth) => {
    const points = Array.from({ length: steps + 1 }, (_, step) => {
      const value = sorted[Math.min(sorted.length - 1, Math.floor((step / steps) * sorted.length))] ?? 1;
      return `${x(value).toFixed(1)},${y(step / steps).toFixed(1)}`;
    });
    return `<polyline points="${points.join(" ")}" fill="none" stroke="${colourOf(nth)}" stroke-width="2"/>`;
  });
  const ticks = Array.from({ length: to - from + 1 }, (_, nth) => 10 ** (from + nth)).map(
    (value) =>
      `<line x1="${x(value)}" x2="${x(value)}" y1="${size.top}" y2="${size.height - size.bottom}"/><text x="${x(value)}" y="${size.height - 10}" text-anchor="middle">${value} ${text(unit)}</text>`,
  );
  const shares = [0, 0.5, 0.9, 1].map(
    (share) =>
      `<line x1="${size.left}" x2="${size.width - size.right}" y1="${y(share)}" y2="${y(share)}"/><text x="${size.left - 8}" y="${y(share) + 4}" text-anchor="end">${share * 100} %</text>`,
  );
  const keys = lines.map(({ name }, nth) => `<li><span style="background:${colourOf(nth)}"></span>${text(name)}</li>`);
  return `<figure><figcaption>${text(title)}</figcaption><svg viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${text(title)}"><g class="grid">${ticks.join("")}${shares.join("")}</g>${curves.join("")}</svg><ul>${keys.join("")}</ul></figure>`;
}

const style = `body{max-width:860px;margin:40px auto;padding:0 16px;font:14px/20px system-ui,sans-serif;color:#14201f;background:#f6f7f7}
h1{font-size:24px;line-height:32px;margin:0}h2{margin:40px 0 4px;font-size:20px}p{margin:0 0 16px;color:#5b6b6a}
table{width:100%;table-layout:fixed;border-collapse:collapse;margin:16px 0;background:#fff}th,td{padding:8px 12px;border-top:1px solid #dde3e3;text-align:left;vertical-align:bottom}
thead th:first-child{width:32%}thead th{font-weight:500;color:#5b6b6a;font-size:12px}.bar{display:block;height:6px;margin-bottom:4px;border-radius:3px;min-width:1px}
figure{margin:16px 0;padding:16px;background:#fff}figcaption{font-weight:600;margin-bottom:8px}svg{width:100%}.grid line{stroke:#dde3e3}.grid text{font-size:11px;fill:#5b6b6a}
figure ul{display:flex;flex-wrap:wrap;gap:4px 16px;list-style:none;margin:8px 0 0;padding:0}figure span{display:inline-block;width:10px;height:10px;margin-right:6px;border-radius:2px}`;

/** A page that needs nothing else: the tables of a run with bars, and how its latencies are distributed. */
export function pageOf(machine: string, parts: readonly Part[]): string {
  const body = parts.map((part) => {
    if (part.is === "table") return tableOf(part.rows);
    if (part.is === "distribution") return distributionOf(part);
    return `<h2>${text(part.title)}</h2><p>${text(part.text)}</p>`;
  });
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>perch: benchmarks</title><style>${style}</style><body><h1>Benchmarks</h1><p>${text(machine)}, ${new Date().toISOString().slice(0, 10)}. Bars are within their row.</p>${body.join("\n")}</body></html>\n`;
}
