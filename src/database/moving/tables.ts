import type { Queryable } from "../types.js";

/** What stays behind, and why. All other tables of perch are moved, and whatever is synced. */
const staying: Readonly<Record<string, string>> = {
  applied_release: "the schema's own",
  applied_sql: "the schema's own",
  migrations: "the schema's own",
  field_kinds: "the schema's own",
  // The options name a relation by its number, so sync_table is called there (declarations.ts).
  synced_relations: "made anew",
  // Its epoch goes along, the server that it is on does not.
  log_epoch: "the epoch alone is moved",
  // Counts by the transactions of its server; empty when the move ends, since everything has been given its number.
  captured_changes: "given its numbers first",
  sequencer: "counts by the transactions of its server",
  deferred_notifications: "whoever would be told joins anew",
  document_locks: "locks, of transactions that have ended",
  notifier: "of processes that have ended",
  presence_nodes: "of processes that have ended",
};

/** Rows that migrating makes, or an app's own migrations: they may be there already, and are replaced. */
const mayBeThere: ReadonlySet<string> = new Set(
  [
    "presence_head",
    "limits",
    "document_tables",
    "encrypted_tables",
    "schema_versions",
    "schema_upgrades",
    "mutators",
  ].map((name) => `perch.${name}`),
);

export type KeyOperators = Readonly<Record<"=" | ">=" | ">", string>>;

/** A table as the database that is asked has it; names are quoted. */
export interface MovedTable {
  readonly relation: string;
  /** All of its columns, in its order. */
  readonly columns: readonly string[];
  readonly types: readonly string[];
  /** Those that Postgres works out. */
  readonly generated: readonly string[];
  readonly key: readonly string[];
  readonly key_types: readonly string[];
  /** By what the columns of the key are compared, as "perch.key_operator" has it: what is in no schema is found in pg_catalog. */
  readonly key_operators: readonly KeyOperators[];
  /** The table itself, and what a partitioned one is in: who writes to a partition writes to no other. */
  readonly parts: readonly string[];
  /** The app's own, which is synced. */
  readonly is_app: boolean;
}

/** The tables that are moved, as a database has them. In: a transaction whose search_path is pg_catalog, so that names of types are whole. */
export async function movedTables(on: Queryable): Promise<MovedTable[]> {
  return on.query<MovedTable>(
    `select format('%I.%I', n.nspname, c.relname) as relation, a.columns, a.types, a.generated, k.key, k.key_types, k.key_operators,
            p.parts, n.nspname <> 'perch' as is_app
       from pg_class c
       join pg_namespace n on n.oid = c.relnamespace
      cross join lateral (
        select array_agg(quote_ident(a.attname) order by a.attnum) as columns,
               array_agg(format_type(a.atttypid, a.atttypmod) order by a.attnum) as types,
               coalesce(array_agg(quote_ident(a.attname)) filter (where a.attgenerated <> ''), '{}') as generated
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) a
       join lateral (
        select array_agg(quote_ident(a.attname) order by p.place) as key,
               array_agg(format_type(a.atttypid, a.atttypmod) order by p.place) as key_types,
               jsonb_agg((select jsonb_object_agg(o, perch.key_operator(format_type(a.atttypid, null), o))
                            from unnest(array['=', '>=', '>']) o) order by p.place) as key_operators
          from pg_index i
         cross join unnest(i.indkey) with ordinality p (attnum, place)
          join pg_attribute a on a.attrelid = c.oid and a.attnum = p.attnum
         where i.indrelid = c.oid and i.indisprimary and p.place <= i.indnkeyatts) k on k.key is not null
      cross join lateral (
        select array_agg(format('%I.%I', pn.nspname, pc.relname) order by pc.oid = c.oid desc, pc.relname) as parts
          from (select c.oid union select t.relid from pg_partition_tree(c.oid) t) o (oid)
          join pg_class pc on pc.oid = o.oid join pg_namespace pn on pn.oid = pc.relnamespace) p
      where n.nspname = 'perch' and c.relkind = 'r' and c.relname <> all ($1)
         or c.oid in (select r.relation from perch.synced_relations r)
      order by is_app, relation`,
    [Object.keys(staying)],
  );
}

/** Tables of the target that are not empty and should be: somebody else's content. */
export async function occupied(on: Queryable, tables: readonly MovedTable[]): Promise<string[]> {
  const found: string[] = [];
  for (const { relation } of tables) {
    if (mayBeThere.has(relation)) continue;
    const [row] = await on.query<{ any: boolean }>(`select exists (select from ${relation}) as any`);
    if (row?.any) found.push(relation);
  }
  return found;
}

/** Sequences: perch's, and those that give columns of the app's tables their values. Out: how each is set, by a name that both ends have. */
export async function movedSequences(on: Queryable): Promise<{ name: string; last: string; called: boolean }[]> {
  const names = await on.query<{ name: string }>(
    `select distinct format('%I.%I', n.nspname, c.relname) as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace
       left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_class'::regclass
                            and d.deptype in ('a', 'i')
      where c.relkind = 'S' and (n.nspname = 'perch' or d.refobjid in (select r.relation from perch.synced_relations r))
      order by name`,
  );
  const values: { name: string; last: string; called: boolean }[] = [];
  for (const { name } of names) {
    const [row] = await on.query<{ last: string; called: boolean }>(
      `select last_value::text as last, is_called as called from ${name}`,
    );
    if (row) values.push({ name, ...row });
  }
  return values;
}
