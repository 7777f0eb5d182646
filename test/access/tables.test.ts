import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";
import { type TableEntry, tables } from "./tables.js";
import { attempts, type ContextName, contexts, makeLogins, makeWorld, type RoleName, roles, userOf } from "./world.js";

const verbs = ["select", "insert", "update", "delete"] as const;
type Verb = (typeof verbs)[number];

interface Found {
  name: string;
  hasSpace: boolean;
  firstColumn: string;
  rows: number;
  /** Those that UPDATE and DELETE try. */
  tried: number;
  /** A row that is there, as JSON. */
  sample: Record<string, unknown>;
}

function outcome(value: unknown, error?: { code?: string; message: string }): string {
  if (error?.code === "42501") return /row-level security/.test(error.message) ? "x" : "-";
  if (error) return error.code ?? error.message;
  return String(value);
}

describeEachEngine("access to tables", (open) => {
  let t: TestDatabase;
  let logins: Record<RoleName, string | null>;
  let found: Found[];

  beforeAll(async () => {
    t = await open();
    await makeWorld(t);
    logins = await makeLogins(t);
    found = await t.db.query<Found>(
      `select c.relname as name, k.names[1] as "firstColumn", 'space_id' = any (k.names) as "hasSpace"
         from pg_class c
         cross join lateral (select array_agg(a.attname::text order by a.attnum) as names from pg_attribute a
                              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) k
        where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f') order by 1`,
    );
    for (const table of found) {
      const where = tables[table.name]?.where ?? (table.hasSpace ? "space_id = 'team'" : "true");
      const [counts] = await t.db.query<{ rows: number; tried: number }>(
        `select count(*) as rows, count(*) filter (where ${where}) as tried from perch.${table.name}`,
      );
      const [sample] = await t.db.query<{ row: Record<string, unknown> }>(
        `select to_jsonb(r) as row from perch.${table.name} r where ${where} limit 1`,
      );
      Object.assign(table, counts, { sample: sample?.row });
    }
  });

  function statement(table: Found, verb: Verb, context: ContextName): string {
    const entry = tables[table.name] as TableEntry;
    const where = entry.where ?? (table.hasSpace ? "space_id = 'team'" : "true");
    const target = `perch.${table.name}`;
    const counted = (change: string) => `with changed as (${change} returning 1) select count(*) from changed`;
    if (verb === "select") return `select count(*) from ${target}`;
    if (verb === "update")
      return counted(`update ${target} set ${table.firstColumn} = ${table.firstColumn} where ${where}`);
    if (verb === "delete") return counted(`delete from ${target} where ${where}`);
    const author = entry.author === undefined ? {} : { [entry.author]: userOf(context) ?? "nobody" };
    const row = JSON.stringify({ ...table.sample, ...entry.fresh, ...author }).replaceAll("'", "''");
    // Without RETURNING, which would ask the policy of SELECT, too.
    return `insert into ${target} select * from jsonb_populate_record(null::${target}, '${row}')`;
  }

  function expected(table: Found, entry: TableEntry, role: RoleName, verb: Verb): string[] {
    const everything = {
      select: table.rows,
      insert: entry.insertForAll ?? 1,
      update: table.tried,
      delete: table.tried,
    };
    const spread = (outcomes: string) => {
      const each = outcomes.split(" ");
      return contexts.map((_, nth) => (each.length === 1 ? each[0] : each[nth]) as string);
    };
    const all = spread(String(everything[verb]));
    const none = spread("-");
    if (verb === "insert" && entry.insertForAnybody !== undefined && role !== "stranger")
      return spread(entry.insertForAnybody);
    switch (role) {
      case "superuser":
        return all;
      case "perch_owner":
        return entry[verb] === "all" ? all : spread(entry[verb]);
      case "perch_app":
        return verb === "select" && entry.app === "select" ? spread(entry.selectAsApp ?? entry.select) : none;
      case "perch_worker":
        if (entry.worker === "insert") return verb === "select" || verb === "insert" ? all : none;
        return entry.worker === "all" || (entry.worker === "select" && verb === "select") ? all : none;
      case "stranger":
        return none;
    }
  }

  it("is written down for every table and view, and for none that is gone", () => {
    expect(Object.keys(tables).sort()).toEqual(found.map(({ name }) => name).sort());
  });

  it("is tried on rows that are there", () => {
    expect(found.filter(({ rows, tried }) => rows === 0 || tried === 0).map(({ name }) => name)).toEqual([]);
  });

  for (const role of roles) {
    it(`gives ${role} in every context what is written down`, async () => {
      const actual: Record<string, string[]> = {};
      const wanted: Record<string, string> = {};
      const known = found.filter(({ name }) => tables[name] !== undefined);
      for (const context of contexts) {
        const tried = known.flatMap((table) =>
          verbs.filter((verb) => verb === "select" || !tables[table.name]?.readOnly).map((verb) => ({ table, verb })),
        );
        const outcomes = await attempts(
          t,
          logins[role],
          context,
          tried.map(({ table, verb }) => ({
            sql: statement(table, verb, context),
            outcome: (value, error) => outcome(verb === "insert" && !error ? 1 : value, error),
          })),
        );
        tried.forEach(({ table, verb }, nth) => {
          const title = `${verb} ${table.name}`;
          actual[title] = [...(actual[title] ?? []), outcomes[nth] as string];
          wanted[title] = expected(table, tables[table.name] as TableEntry, role, verb).join(" ");
        });
      }
      expect(Object.fromEntries(Object.entries(actual).map(([title, each]) => [title, each.join(" ")]))).toEqual(
        wanted,
      );
    });
  }
});
