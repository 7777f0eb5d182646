import type { Sources } from "./sources.js";

/**
 * Statements of more than a call of one function stand in sql/, where a DBA who renames a column finds them. These files have others: a
 * reason for each. Fewer than there are reasons is a fault of the list.
 */
export type Allowed = ReadonlyMap<string, readonly string[]>;

/** What makes sql/ and looks at servers reads catalogs, also where nothing of sql/ is there yet. */
const readsCatalogs = /^src\/(database\/|cli\/(doctor|connect|sql-run))/;

const statement =
  /^\s*(select|with\s+\w+(\s*\([^)]*\))?\s+as|insert\s+into|update\s+\w+|delete\s+from|merge\s+into)\b/i;
/** One of the things that are selected, its arguments put away: a name, a value or a call, cast and named. */
const item = String.raw`([\w.*]+§?|'')(::\w+(\[\])?)?( (as )?\w+)?`;
/** `select perch.f(…) as name`, `select a, b from perch.f(…)`. */
const call = new RegExp(`^select( ${item}(, ${item})*)?( from [\\w.]+§( (as )?\\w+)?)?;?$`, "i");

/** Whether a text is a statement of SQL. */
export function isStatement(text: string): boolean {
  return statement.test(text);
}

/** Whether a statement does no more than call a function. What stands in the arguments counts only where it reads tables itself. */
export function isCall(text: string): boolean {
  let plain = text
    .replace(/'[^']*'/g, "''")
    .replace(/\s+/g, " ")
    .trim();
  for (let before = ""; before !== plain; ) {
    before = plain;
    // From the innermost parentheses out.
    plain = plain.replace(/ ?\(([^()]*)\)/g, (_whole, inside: string) => (/\bselect\b|¶/i.test(inside) ? "¶" : "§"));
  }
  return call.test(plain);
}

/** The texts of a TypeScript file: string literals and templates, whose insertions count as a name. Comments are left out. */
export function textsIn(source: string): { readonly text: string; readonly line: number }[] {
  const found: { text: string; line: number }[] = [];
  const lineAt = (at: number) => source.slice(0, at).split("\n").length;
  for (let at = 0; at < source.length; at++) {
    const two = source.slice(at, at + 2);
    const one = source[at];
    if (two === "//") at = endOf(source, "\n", at);
    else if (two === "/*") at = endOf(source, "*/", at + 2) + 1;
    else if (one === '"' || one === "'") {
      const end = closing(source, one, at + 1);
      found.push({ text: source.slice(at + 1, end), line: lineAt(at) });
      at = end;
    } else if (one === "`") {
      const { text, end } = template(source, at + 1);
      found.push({ text, line: lineAt(at) });
      at = end;
    }
  }
  return found;
}

function endOf(source: string, mark: string, from: number): number {
  const at = source.indexOf(mark, from);
  return at < 0 ? source.length : at;
}

function closing(source: string, quote: string, from: number): number {
  for (let at = from; at < source.length; at++) {
    if (source[at] === "\\") at++;
    else if (source[at] === quote || source[at] === "\n") return at;
  }
  return source.length;
}

function template(source: string, from: number): { text: string; end: number } {
  let text = "";
  for (let at = from; at < source.length; at++) {
    if (source[at] === "\\") text += source[++at] ?? "";
    else if (source[at] === "`") return { text, end: at };
    else if (source.slice(at, at + 2) === "${") {
      let depth = 1;
      for (at += 2; at < source.length && depth > 0; at++) {
        if (source[at] === "`") at = template(source, at + 1).end;
        else if (source[at] === '"') at = closing(source, '"', at + 1);
        else if (source[at] === "{") depth++;
        else if (source[at] === "}") depth--;
      }
      at--;
      text += "inserted";
    } else text += source[at];
  }
  return { text, end: source.length };
}

/** In: the files of src/, and what is allowed of them. Out: a line for each statement too many, and each that is allowed and not there. */
export function statements(files: Sources, allowed: Allowed): string[] {
  const problems: string[] = [];
  for (const [path, source] of files) {
    if (readsCatalogs.test(path)) continue;
    const found = textsIn(source).filter(({ text }) => isStatement(text) && !isCall(text));
    const may = allowed.get(path)?.length ?? 0;
    if (found.length > may) {
      for (const { line } of found)
        problems.push(
          `${path}:${line} has a statement of more than a call (${may} allowed): put it into a function in sql/`,
        );
    } else if (found.length < may) {
      problems.push(
        `${path} has ${found.length} statements of more than a call, and ${may} are allowed: shorten the list`,
      );
    }
  }
  for (const path of allowed.keys())
    if (!files.has(path)) problems.push(`${path} is allowed statements, and is not there`);
  return problems;
}

const sqlState = /^(0[0-9A-Z]|2[0-9A-Z]|3[0-9A-Z]|4[0-9A-Z]|5[0-9A-Z]|P0|XX)[0-9A-Z]{3}$/;

/** In: the files of src/. Out: a line for each SQLSTATE outside of database/, which alone says what they mean. */
export function sqlStates(files: Sources): string[] {
  return [...files].flatMap(([path, source]) => {
    if (path.startsWith("src/database/")) return [];
    const found = textsIn(source).filter(({ text }) => sqlState.test(text));
    return found.map(
      ({ text, line }) => `${path}:${line} compares the SQLSTATE ${text}: ask src/database/errors.ts for what it means`,
    );
  });
}
