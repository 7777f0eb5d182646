import { basename } from "node:path";
import { expect, it } from "vitest";
import { readMigrationSources } from "../../src/database/migration-sources.js";

/**
 * Putting a jsonb value into one that is aggregated, Postgres (to 18 at least) copies each string in it by a way that looks for its end in
 * all that follows: a list of a hundred thousand words takes minutes, in which nothing stops it. json_agg, jsonb_build_object and
 * jsonb || jsonb do not.
 */
it("values of users are aggregated as json", async () => {
  /** What these aggregate are texts and numbers, or of perch's own making. */
  const scalars =
    /jsonb_object_agg\((k|n|f\.key|m\.key|p\.peer|l\.name|t\.table_name|s\.key|w\.key|f\.name), (perch\.|coalesce\((r|k|w|v\.lifted -> 'field_meta'|k\.field_meta)[^,]*->>|f\.value \|\||m\.value|case when perch\.is_time|p\.counter|l\.value|t\.version|s\.value|w\.stamp)|jsonb_object_agg\(((r\.space_id|m\.peer), |k,$)/;
  const { files } = await readMigrationSources();
  const wrong = files
    .filter(({ reconciles }) => !reconciles)
    .flatMap(({ path, text }) => {
      const lines = text.split("\n").filter((line) => !/^(--|comment on)/.test(line.trimStart()));
      return lines.flatMap((line) =>
        (line.match(/jsonb_(object_)?agg\([^)]*\)?.{0,40}/g) ?? [])
          .filter(
            (use) =>
              !scalars.test(use) &&
              !/jsonb_agg\((jsonb_build_object|perch\.applied|r\.space_id|k\.kind|"row" -> k\.name)|agg\((k\.name, parts|\(c\)\.record_id, \(c\)\.op_id|[fs]\.key, s\.stamp)/.test(
                use,
              ),
          )
          .map((use) => `${path}: ${use}`),
      );
    });
  expect(wrong).toEqual([]);
});

/** In a query a bare name is that of a column before it is that of a row: where a table of the app's has one of that name. */
it("rows of the app's tables are taken as rows", async () => {
  const { files } = await readMigrationSources();
  // What is a variable in an expression of its own has no columns beside it.
  const bare = /\b(?:to_json|to_jsonb|row_to_json)\((?!old\)|new\)|detail\)|relation\))[a-z_]+\)/g;
  const wrong = files
    .filter(({ path }) => /\b(?:tables|shapes)\//.test(path))
    .flatMap(({ path, text }) => (text.match(bare) ?? []).map((use) => `${path}: ${use}`));
  expect(wrong).toEqual([]);
});

/** Up to Postgres 16 no subtransaction may begin in a parallel query, and an exception is caught in one. */
it("nothing that catches an exception is called in parallel", async () => {
  const { files } = await readMigrationSources();
  const wrong = files.filter(
    ({ text }) => /^\s*exception\b/m.test(text) && /\bparallel (?:safe|restricted)\b/.test(text),
  );
  expect(wrong.map(({ path }) => path)).toEqual([]);
});

/** Any login may take those, and reads in pg_locks which keys are in use: what perch waits for, it would wait for without end. */
it("nothing takes an advisory lock", async () => {
  const { files } = await readMigrationSources();
  const takes = /\bpg_(try_)?advisory_/;
  expect(files.filter(({ text }) => takes.test(text)).map(({ path }) => path)).toEqual([]);
});

it("what is in api/ is documented for its callers, what is in internal/ says that it is private", async () => {
  const { files } = await readMigrationSources();
  const wrong: string[] = [];
  for (const { path, text, makes, reconciles } of files) {
    if (reconciles) continue;
    const [, comment = ""] = /^comment on (?:function|view) [^']*? is\s+'(.*)';$/m.exec(text) ?? [];
    if (comment === "") wrong.push(`${path} has no comment`);
    else if (comment.startsWith("Private. ") !== path.includes("/internal/")) wrong.push(`${path}: wrong folder`);
    if (makes.length !== 1 || makes[0] !== basename(path, ".sql")) wrong.push(`${path} makes ${makes.join(", ")}`);
  }
  expect(wrong).toEqual([]);
});

it("who may call a function is said in its file, by one grant that the ledger takes down", async () => {
  const { files } = await readMigrationSources();
  const wrong = files.flatMap(({ path, text, makes, callers, reconciles }) => {
    const grants = reconciles ? [] : (text.match(/^\s*(grant|revoke)\b.*/gim) ?? []);
    const expected =
      callers.length === 0 ? [] : [`grant execute on function perch.${makes[0]} to ${callers.join(", ")};`];
    return grants.join("\n") === expected.join("\n") ? [] : [path, ...grants];
  });
  expect(wrong).toEqual([]);
  expect(files.filter(({ callers }) => callers.includes("perch_app")).length).toBeGreaterThan(50);
});

it("no line of code is wider than 120 columns", async () => {
  const { files } = await readMigrationSources();
  // A comment on an object is one line, as psql shows it; a constant may be longer than any line.
  const prose = /^(comment on .*|\s*'([^']|'')*'[,;)]*)$/;
  const wide = files.flatMap(({ path, text }) =>
    text
      .split("\n")
      .flatMap((line, index) => ([...line].length > 120 && !prose.test(line) ? [`${path}:${index + 1}`] : [])),
  );
  expect(wide).toEqual([]);
});

/** The arguments of a call whose parenthesis opens before `from`. */
function argumentsAt(text: string, from: number): string[] {
  const found = [""];
  let depth = 1;
  let quoted = false;
  for (const letter of text.slice(from)) {
    if (letter === "'") quoted = !quoted;
    if (!quoted) {
      if (letter === "(" || letter === "[") depth += 1;
      if (letter === ")" || letter === "]") depth -= 1;
      if (depth === 0) break;
      if (letter === "," && depth === 1) {
        found.push("");
        continue;
      }
    }
    found.push(`${found.pop()}${letter}`);
  }
  return found;
}

it("every error says what to do: by a hint of its own, or by what it expects, or by the limit that it is over", async () => {
  const { files } = await readMigrationSources();
  let errors = 0;
  const silent: string[] = [];
  for (const { path, text } of files) {
    for (const { index } of text.matchAll(/perform perch\.fail\(/g)) {
      const args = argumentsAt(text, index + "perform perch.fail(".length);
      errors += 1;
      const [code = "", message = "", detail = ""] = args;
      const says = args.length > 3 || args.some((arg) => /^\s*hint =>/.test(arg));
      if (!says && !/'(expected|limit)'/.test(detail) && !code.includes("PE404"))
        silent.push(`${path}: ${message.trim()}`);
    }
  }
  expect(silent).toEqual([]);
  expect(errors).toBeGreaterThan(150);
});
