import type { Queryable, Transaction } from "../types.js";

/** The options of a synced table, as perch.sync_table takes them; JSON as text. */
interface Synced {
  readonly name: string;
  readonly options: string;
  readonly rules_mark: string | null;
}

const syncedTables = (on: Queryable) =>
  on.query<Synced>(
    `select format('%I.%I', n.nspname, c.relname) as name, r.rules_mark::text,
            json_build_object('app_id', r.app_id, 'table_name', r.table_name, 'space_column', r.space_column, 'space_id', r.space_id,
              'space_expression', r.space_expression, 'columns', r.columns, 'writable_columns', r.writable_columns,
              'documents', r.documents, 'row_filter', r.row_filter, 'column_roles', r.column_roles, 'always', r.always)::text as options
       from perch.synced_relations r join pg_class c on c.oid = r.relation join pg_namespace n on n.oid = c.relnamespace
      order by name`,
  );

/** What the source has declared, beside rows of tables. */
export interface Declarations {
  readonly synced: readonly Synced[];
  readonly mutators: readonly { readonly app_id: string; readonly name: string; readonly called: string }[];
}

export const declarationsOf = async (on: Queryable): Promise<Declarations> => ({
  synced: await syncedTables(on),
  mutators: await on.query(
    "select app_id, name, function || '(jsonb)' as called from perch.mutators order by app_id, name",
  ),
});

/**
 * What the target lacks of what an app's own migrations make, and perch's content names: tables that are synced, functions, logins. Out:
 * each for people.
 */
export async function lackingThere(from: Queryable, to: Queryable): Promise<string[]> {
  const named = await from.query<{ kind: string; name: string }>(
    `select 'table' as kind, format('%I.%I', n.nspname, c.relname) as name
       from perch.synced_relations r join pg_class c on c.oid = r.relation join pg_namespace n on n.oid = c.relnamespace
     union select 'function', m.function || '(jsonb)' from perch.mutators m
     union select 'function', u.upgrade || '(jsonb)' from perch.schema_upgrades u
     union select 'role', quote_ident(r.login) from perch.readers r where r.login is not null
     order by 1, 2`,
  );
  const lacking: string[] = [];
  for (const { kind, name } of named) {
    const find = { table: "to_regclass", function: "to_regprocedure", role: "to_regrole" }[kind];
    const [row] = await to.query<{ there: boolean }>(`select ${find}($1) is not null as there`, [name]);
    if (!row?.there) lacking.push(`${kind} ${name}`);
  }
  return lacking;
}

/**
 * Syncs the app's tables of the target as those of the source are, and lets perch_owner call what clients call. In: a transaction of the
 * run. `whole`: everything has been copied. Before that nothing that replication's appliers write is captured: that is how it is copied.
 */
export async function declareThere({ synced, mutators }: Declarations, tx: Transaction, { whole }: { whole: boolean }) {
  const there = new Map((await syncedTables(tx)).map((table) => [table.name, table]));
  for (const { name, options, rules_mark } of synced) {
    const wanted = JSON.parse(options) as Record<string, unknown>;
    if (!whole) wanted.always = false;
    const found = there.get(name);
    if (found === undefined || JSON.stringify(JSON.parse(found.options)) !== JSON.stringify(wanted)) {
      await tx.query(
        `select perch.sync_table(relation => $1::text::regclass, app_id => o.app_id, table_name => o.table_name,
                  space_column => o.space_column, space_id => o.space_id, space_expression => o.space_expression, columns => o.columns,
                  writable_columns => o.writable_columns, documents => o.documents, row_filter => o.row_filter,
                  column_roles => o.column_roles, always => o.always)
           from jsonb_to_record($2::jsonb) o (app_id text, table_name text, space_column name, space_id text, space_expression text,
                  columns name[], writable_columns name[], documents jsonb, row_filter text, column_roles jsonb, always boolean)`,
        [name, JSON.stringify(wanted)],
      );
    }
    // By it readers know that they read by the same rules as before.
    if (whole)
      await tx.query("update perch.synced_relations set rules_mark = $2::uuid where relation = $1::text::regclass", [
        name,
        rules_mark,
      ]);
  }
  if (whole) return;
  for (const { app_id, name, called } of mutators) {
    await tx.query("select perch.register_mutator(app_id => $1, name => $2, function => $3::text::regprocedure)", [
      app_id,
      name,
      called,
    ]);
  }
}

/** Makes what stands beside the rows of these tables: the limits as functions read them, and the trigger and rights of readers of services. */
export async function enactThere(tx: Transaction): Promise<void> {
  await tx.query("select perch.bake_limits()");
  for (const { reader, app_ids, login } of await tx.query<{ reader: string; app_ids: string[]; login: string | null }>(
    "select reader, app_ids, login from perch.readers order by reader",
  )) {
    await tx.query("select perch.register_reader(reader => $1, app_ids => $2, login => $3::name)", [
      reader,
      app_ids,
      login,
    ]);
  }
}
