import { readMigrationSources } from "../../src/database/migration-sources.js";
import type { Queryable } from "../../src/database/types.js";

interface SqlFunction {
  name: string;
  arguments: string;
  result: string;
  comment: string | null;
  app: boolean;
  worker: boolean;
}

interface Relation {
  name: string;
  kind: "table" | "view";
  comment: string | null;
  app: boolean;
  columns: { name: string; type: string; comment: string | null }[];
}

const titles: Record<string, string> = {
  identity: "Who is asking, spaces and their members",
  log: "The change log",
  documents: "Documents",
  checkpoints: "Checkpoints",
  foundation: "Errors",
};

/** `docs/sql.md`: the reference of everything public in the schema, made from the comments in a migrated database. */
export async function sqlReference(db: Queryable): Promise<string> {
  const all = await readFunctions(db);
  const functions = all.filter(({ comment }) => !isPrivate(comment));
  const relations = (await readRelations(db)).filter(({ comment }) => !isPrivate(comment));
  const concepts = await conceptsOfFunctions();
  const parts = [
    "# SQL reference",
    "",
    "Made from the comments in the database by `npm run docs`; in psql, `\\df+ perch.*` and `\\d+ perch.*` show the same.",
    "All names are in schema `perch`. Pass arguments by name. Functions not listed here are private.",
    "Error codes and the shapes of JSON are explained in the other pages of this folder.",
    "",
  ];
  const forApps = functions.filter(({ app }) => app);
  const forDbas = functions.filter(
    ({ app, worker, comment }) => !app && (!worker || /\bDBA\b|superuser/.test(comment ?? "")),
  );
  const forWorkers = functions.filter((entry) => !entry.app && !forDbas.includes(entry));
  for (const concept of [...Object.keys(titles), ""]) {
    const here = forApps.filter(({ name }) => (concepts.get(name) ?? "") === concept);
    if (here.length > 0) parts.push(`## ${titles[concept] ?? "Others"}`, "", ...here.flatMap(describe));
  }
  if (forDbas.length > 0) parts.push("## For the DBA", "", ...forDbas.flatMap(describe));
  parts.push("## To select from", "");
  parts.push("Under row level security: each user sees what that user may read.", "");
  for (const relation of relations.filter(({ app }) => app)) parts.push(...describeRelation(relation));
  parts.push("## For perch_worker", "");
  parts.push("What `perch worker` calls. But for `prune_changes` it may change from one version to the next.", "");
  for (const { name, comment } of forWorkers) parts.push(`- \`${name}\`: ${prose(strip(comment))}`);
  parts.push("", "## Who may call what", "");
  parts.push(
    "Granted in the file of each function; what stands under no role is for members of `perch_owner` alone.",
    "",
  );
  for (const role of ["app", "worker"] as const) {
    const names = all.filter((entry) => entry[role]).map(({ name }) => `\`${name}\``);
    parts.push(`- \`perch_${role}\`: ${names.join(", ")}.`);
  }
  parts.push("", "## The tables behind it", "");
  parts.push("They may change from one version to the next.", "");
  for (const { name, comment } of relations.filter(({ app }) => !app)) {
    parts.push(`- \`${name}\`: ${prose(comment ?? "")}`);
  }
  return `${parts.join("\n").trimEnd()}\n`;
}

const isPrivate = (comment: string | null) => comment?.startsWith("Private.") ?? false;
const strip = (comment: string | null) => (comment ?? "").replace(/^For perch_worker[^:]*: /, "");

/** Comments are plain text, and speak of things like <user_id>. */
const prose = (text: string) => text.replaceAll("<", "\\<");

function describe({ name, arguments: args, result, comment }: SqlFunction): string[] {
  const [text = "", example] = (comment ?? "").split(/ Example: /);
  return [
    `### ${name}`,
    "",
    "```sql",
    signature(name, args, result),
    "```",
    "",
    prose(text),
    "",
    ...(example === undefined ? [] : ["```sql", example.trim(), "```", ""]),
  ];
}

function signature(name: string, declared: string, result: string): string {
  const args = declared
    .replace(/ DEFAULT ('(?:[^']|'')*'|[^,:]+)(?:::[a-z ]+(?:\[\])?)?/g, " = $1")
    .replaceAll("= NULL", "= null");
  const oneLine = `${name}(${args}) → ${result}`;
  if (oneLine.length <= 110) return oneLine;
  // Between arguments, not inside a type or a default.
  const list = args.split(/, (?=[a-z_]+ )/);
  return `${name}(\n  ${list.join(",\n  ")}\n) → ${result}`;
}

function describeRelation({ name, kind, comment, columns }: Relation): string[] {
  const cell = (text: string) => prose(text).replaceAll("|", "\\|");
  return [
    `### ${name} (${kind})`,
    "",
    prose(comment ?? ""),
    "",
    "| column | type | |",
    "| --- | --- | --- |",
    ...columns.map((column) =>
      `| \`${column.name}\` | ${column.type} | ${cell(column.comment ?? "")} |`.replace("|  |", "| |"),
    ),
    "",
  ];
}

/** Each function's text is a file in the folder of its concept. */
async function conceptsOfFunctions(): Promise<Map<string, string>> {
  const { files } = await readMigrationSources();
  return new Map(files.flatMap(({ path, makes }) => makes.map((name) => [name, path.split("/")[1] ?? ""])));
}

function readFunctions(db: Queryable): Promise<SqlFunction[]> {
  return db.query<SqlFunction>(`
    select p.proname as name, pg_get_function_arguments(p.oid) as arguments, pg_get_function_result(p.oid) as result,
           obj_description(p.oid, 'pg_proc') as comment,
           has_function_privilege('perch_app', p.oid, 'execute') as app,
           has_function_privilege('perch_worker', p.oid, 'execute') as worker
      from pg_proc p
     where p.pronamespace = 'perch'::regnamespace and pg_get_function_result(p.oid) <> 'trigger'
     order by p.proname collate "C", p.pronargs, pg_get_function_arguments(p.oid) collate "C"`);
}

function readRelations(db: Queryable): Promise<Relation[]> {
  return db.query<Relation>(`
    select c.relname as name, case c.relkind when 'v' then 'view' else 'table' end as kind,
           obj_description(c.oid, 'pg_class') as comment, has_table_privilege('perch_app', c.oid, 'select') as app,
           (select jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                                                'comment', col_description(c.oid, a.attnum)) order by a.attnum)
              from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
      from pg_class c
     where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
     order by c.relname collate "C"`);
}
