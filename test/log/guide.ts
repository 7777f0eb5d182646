import { readBlocks } from "../support/blocks.js";

/** The examples of a page: fenced blocks of sql and ts (and what else its test can run), in order; a json block says what the sql block before it ends with. */
export interface Example {
  language: "sql" | "ts" | "tsx" | "sh";
  text: string;
  line: number;
  result?: unknown;
}

export function readExamples(page: string, others: readonly ("sh" | "tsx")[] = []): Example[] {
  const examples: Example[] = [];
  for (const { language, text, line } of readBlocks(page, ["sql", "ts", "json", ...others])) {
    if (language !== "json") examples.push({ language: language as Example["language"], text, line });
    else {
      const last = examples.at(-1);
      if (last?.language !== "sql" || last.result !== undefined) throw new Error(`line ${line}: a result of what?`);
      last.result = JSON.parse(text);
    }
  }
  return examples;
}

export interface Statement {
  sql: string;
  /** Ends with \gset: its columns become psql variables. */
  sets: boolean;
}

/** Statements of a psql script, with their ends: a semicolon or \gset at the end of a line, outside of $$. */
export function readStatements(script: string): Statement[] {
  const statements: Statement[] = [];
  let quoted = false;
  let current = "";
  for (const line of script.split("\n")) {
    current += `${line}\n`;
    if ((line.match(/\$\$/g)?.length ?? 0) % 2 === 1) quoted = !quoted;
    const end = /(;|\s\\gset)$/.exec(line)?.[1];
    if (quoted || end === undefined) continue;
    statements.push({ sql: current.trimEnd().slice(0, -end.trimStart().length), sets: end !== ";" });
    current = "";
  }
  if (current.trim() !== "") throw new Error(`a statement without an end: ${current}`);
  return statements;
}

/** Values that differ from run to run are "…" on the page. */
export function withoutMoments(actual: unknown, expected: unknown): unknown {
  if (expected === "…" && typeof actual === "string") return "…";
  if (Array.isArray(actual) && Array.isArray(expected))
    return actual.map((item, nth) => withoutMoments(item, expected[nth]));
  if (actual !== null && typeof actual === "object" && expected !== null && typeof expected === "object") {
    const known = expected as Record<string, unknown>;
    return Object.fromEntries(Object.entries(actual).map(([key, value]) => [key, withoutMoments(value, known[key])]));
  }
  return actual;
}

/**
 * The ts blocks of a page as one module. Before each block it awaits `before` with the block's place among the examples, so that the
 * sql in between has been run; what stands before "// →" is handed to `check` with what stands behind it. `end` comes last.
 */
export function moduleOf(examples: readonly Example[], perch: string, end = "await db.close();"): string {
  const blocks = examples.map(({ language, text }, nth) => {
    if (language !== "ts") return "";
    const code = text
      .replaceAll('from "perch"', `from ${JSON.stringify(perch)}`)
      .replaceAll(/^(\s*)(\S.*?); \/\/ → (.*)$/gm, "$1check($2, $3);");
    return `await before(${nth});\n${code}`;
  });
  return `declare global {
  var before: (nth: number) => Promise<void>;
  var check: (actual: unknown, expected: unknown) => void;
}
${blocks.join("")}${end}
`;
}
