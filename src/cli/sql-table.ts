import type { SqlError, SqlResult } from "./sql-run.js";

/** How wide a text is on a terminal, near enough: combining marks take no place, and ideographs and emoji two. */
const widthOf = (text: string): number => {
  let width = 0;
  for (const letter of text) width += /\p{M}/u.test(letter) ? 0 : wide.test(letter) ? 2 : 1;
  return width;
};
const wide = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}]/u;

/** A control character would move the cursor, or be obeyed by the terminal: stored text is anybody's. */
const onOneLine = (text: string): string =>
  text
    .replaceAll("\n", "↵")
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
    .replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, (found) => `\\x${found.charCodeAt(0).toString(16).padStart(2, "0")}`);

/** What a statement returned as an aligned table, and otherwise what it did to how many rows. */
export function shownResult({ columns, rows, tag }: SqlResult): string {
  // "INSERT 0 1": the zero was the id of a row once.
  if (columns === undefined) return `${tag.replace(/^INSERT 0 /, "INSERT ")}\n`;
  const cells = rows.map((row) => row.map((cell) => (cell === null ? "" : onOneLine(cell))));
  const names = columns.map(({ name }) => onOneLine(name));
  const widths = names.map((name, at) => Math.max(widthOf(name), ...cells.map((row) => widthOf(row[at] ?? ""))));
  const padded = (cell: string, at: number) => {
    const space = " ".repeat((widths[at] ?? 0) - widthOf(cell));
    return columns[at]?.isNumber ? space + cell : cell + space;
  };
  const line = (row: string[]) => ` ${row.map(padded).join(" | ")}`.trimEnd();
  const rule = widths.map((width) => "-".repeat(width + 2)).join("+");
  const count = `(${rows.length} ${rows.length === 1 ? "row" : "rows"})`;
  return `${[line(names), rule, ...cells.map(line), count].join("\n")}\n\n`;
}

/** What the database said, with the line it means and a mark below the place. */
export function shownError({ fields }: SqlError, sql: string): string {
  const { message, detail, hint, code, position } = fields;
  const lines = [`perch: ${message}${code === undefined ? "" : ` (${code})`}`];
  if (position !== undefined) {
    // Postgres counts characters, of which JavaScript may take two for one.
    const before = [...sql].slice(0, Number(position) - 1).join("");
    const number = before.split("\n").length;
    const column = before.length - (before.lastIndexOf("\n") + 1);
    const label = `line ${number}: `;
    lines.push(`${label}${sql.split("\n")[number - 1]?.replaceAll("\t", " ")}`);
    lines.push(`${" ".repeat(label.length + widthOf(before.slice(before.length - column)))}^`);
  }
  if (detail) lines.push(`detail: ${detail}`);
  if (hint) lines.push(`hint: ${hint}`);
  return `${lines.join("\n")}\n`;
}
