import type { Queryable } from "./types.js";

/** What the schema perch of a database has: of each thing, "table documents" for example, a line for each fact. */
export type Catalog = ReadonlyMap<string, readonly string[]>;

/**
 * Reads the catalog: tables with columns, constraints, indexes, policies and triggers, views, functions without their text (that is in
 * sql/), who owns them, and what is granted to whom. The same on every version of Postgres. Names are written out in full only while
 * the search_path does not find them: `pg_catalog`, or the default, not one with perch in it.
 */
export function readCatalog(db: Queryable): Promise<Catalog> {
  return itemsOf(db, [...ofRelations(ours), ...ofSchema, ...ofFunctions]);
}

/** Of some tables alone, and of the schema itself. */
export function readTables(db: Queryable, names: readonly string[]): Promise<Catalog> {
  const chosen = names.map((name) => `'${name}'`).join(", ");
  return itemsOf(db, [...ofRelations(`${ours} and c.relname in (${chosen})`), ...ofSchema]);
}

async function itemsOf(db: Queryable, queries: readonly string[]): Promise<Catalog> {
  const items = new Map<string, string[]>();
  for (const sql of queries) {
    for (const { item, line } of await db.query<{ item: string; line: string }>(sql)) {
      items.set(item, [...(items.get(item) ?? []), unqualified(line.replaceAll(/\s+/g, " "))]);
    }
  }
  return items;
}

/** Before version 16 the columns of a view of one table have its alias before them. */
function unqualified(line: string): string {
  const [, alias] = (!line.includes(" JOIN ") && /^shows .* FROM perch\.\w+ (\w+)[ ;]/.exec(line)) || [];
  return alias === undefined ? line : line.replaceAll(new RegExp(`\\b${alias}\\.`, "g"), "");
}

/**
 * `docs/schema.txt`: the catalog of a migrated database as text, in a fixed order. A change of it is a change that a reviewer should see;
 * and it is what `perch doctor` and `perch migrate up` expect of a database.
 */
export async function describeCatalog(db: Queryable): Promise<string> {
  const items = await readCatalog(db);
  const blocks = [...items.keys()].sort(byBytes).map((item) => [item, ...(items.get(item) ?? [])].join("\n  "));
  return `${blocks.join("\n\n")}\n`;
}

/** The catalog that `describeCatalog` wrote. */
export function parseCatalog(text: string): Catalog {
  return new Map(
    text
      .trimEnd()
      .split("\n\n")
      .map((block) => {
        const [item = "", ...lines] = block.split("\n  ");
        return [item, lines] as const;
      }),
  );
}

const byBytes = (one: string, other: string) => (one < other ? -1 : one > other ? 1 : 0);

const relation = `case c.relkind when 'v' then 'view ' when 'S' then 'sequence ' else 'table ' end || c.relname`;
const ours = `c.relnamespace = 'perch'::regnamespace`;

/** Each gives lines under an item; what comes first here comes first under it. */
const ofRelations = (chosen: string) => [
  `select ${relation} as item,
          concat_ws(' ', 'owner', pg_get_userbyid(c.relowner),
            case when c.relrowsecurity then 'row level security' end, case when c.relforcerowsecurity then 'forced' end,
            c.reloptions::text, case when c.relpersistence = 'u' then 'unlogged' end) as line
     from pg_class c where ${chosen} and c.relkind in ('r', 'p', 'v', 'm', 'S')`,
  `select ${relation} as item,
          concat_ws(' ', 'column', a.attname, format_type(a.atttypid, a.atttypmod),
            case when a.attcollation <> 0 and co.collname <> 'default' then 'collate ' || co.collname end,
            case when a.attnotnull then 'not null' end, 'default ' || pg_get_expr(d.adbin, d.adrelid),
            case a.attidentity when 'a' then 'identity always' when 'd' then 'identity' end,
            case when a.attstorage <> t.typstorage then 'storage ' || a.attstorage::text end) as line
     from pg_class c
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     join pg_type t on t.oid = a.atttypid
     left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
     left join pg_collation co on co.oid = a.attcollation
    where ${chosen} and c.relkind in ('r', 'p', 'v', 'm')
    order by c.relname collate "C", a.attnum`,
  // Postgres 18 lists NOT NULL among the constraints, older versions do not: the columns have said it.
  `select ${relation} as item, 'constraint ' || k.conname || ' ' || pg_get_constraintdef(k.oid) as line
     from pg_constraint k join pg_class c on c.oid = k.conrelid
    where ${chosen} and k.contype <> 'n'
    order by k.conname collate "C"`,
  `select ${relation} as item, concat_ws(' ', pg_get_indexdef(i.indexrelid), case when not i.indisvalid then 'not valid' end) as line
     from pg_index i join pg_class c on c.oid = i.indrelid join pg_class x on x.oid = i.indexrelid
    where ${chosen} and not exists (select from pg_constraint k where k.conindid = i.indexrelid)
    order by x.relname collate "C"`,
  `select ${relation} as item,
          concat_ws(' ', 'policy', quote_ident(p.polname), case when not p.polpermissive then 'restrictive' end,
            case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
            'to', array_to_string(array(select coalesce(r.rolname, 'public') from unnest(p.polroles) as u (oid)
                                          left join pg_roles r on r.oid = u.oid order by 1), ', '),
            'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid)) as line
     from pg_policy p join pg_class c on c.oid = p.polrelid
    where ${chosen}
    order by p.polname collate "C"`,
  `select ${relation} as item,
          pg_get_triggerdef(g.oid) || case g.tgenabled when 'O' then '' when 'D' then ' disabled' else ' enabled ' || g.tgenabled::text end as line
     from pg_trigger g join pg_class c on c.oid = g.tgrelid
    where ${chosen} and not g.tgisinternal
    order by g.tgname collate "C"`,
  // Those that keep foreign keys.
  `select ${relation} as item, 'foreign keys are not checked' as line
     from pg_class c
    where ${chosen} and exists (select from pg_trigger g where g.tgrelid = c.oid and g.tgisinternal and g.tgenabled = 'D')`,
  `select ${relation} as item, 'shows ' || pg_get_viewdef(c.oid) as line
     from pg_class c where ${chosen} and c.relkind = 'v'`,
  `select ${relation} as item,
          'grant ' || string_agg(lower(g.privilege_type), ', ' order by g.privilege_type) || ' to ' || g.grantee as line
     from pg_class c
    cross join lateral (select privilege_type, case when grantee = 0 then 'public' else pg_get_userbyid(grantee) end as grantee
                          from aclexplode(c.relacl) where grantee <> c.relowner) g
    where ${chosen}
    group by item, g.grantee
    order by g.grantee collate "C"`,
  `select ${relation} as item, 'grant (' || a.attname || ') ' || array_to_string(a.attacl, ' ') as line
     from pg_class c join pg_attribute a on a.attrelid = c.oid
    where ${chosen} and a.attacl is not null
    order by a.attnum`,
  // Rights that an owner has without being granted them, and that were revoked: what runs as the owner fails then.
  `select ${relation} as item,
          'lacking ' || string_agg(lower(l.privilege_type), ', ' order by l.privilege_type)
            || case c.relkind when 'S' then ' on sequence ' else ' on table ' end || 'perch.' || c.relname as line
     from pg_class c
    cross join lateral (select privilege_type
                          from aclexplode(acldefault(case c.relkind when 'S' then 's' else 'r' end::"char", c.relowner)) where grantee = c.relowner
                        except
                        select privilege_type from aclexplode(c.relacl) where grantee = c.relowner) l
    where ${chosen} and c.relkind in ('r', 'p', 'v', 'm', 'S') and c.relacl is not null and l.privilege_type <> 'MAINTAIN'
    group by c.oid, item`,
];

const ofSchema = [
  `select 'schema perch' as item, 'owner ' || pg_get_userbyid(n.nspowner) as line from pg_namespace n where n.nspname = 'perch'`,
  `select 'schema perch' as item,
          'grant ' || string_agg(lower(g.privilege_type), ', ' order by g.privilege_type) || ' to ' || g.grantee as line
     from pg_namespace n
    cross join lateral (select privilege_type, case when grantee = 0 then 'public' else pg_get_userbyid(grantee) end as grantee
                          from aclexplode(n.nspacl) where grantee <> n.nspowner) g
    where n.nspname = 'perch'
    group by g.grantee
    order by g.grantee collate "C"`,
  `select 'schema perch' as item, 'default privileges ' || d.defaclobjtype::text || ' ' || array_to_string(d.defaclacl, ' ') as line
     from pg_default_acl d where pg_get_userbyid(d.defaclrole) = 'perch_owner' and d.defaclnamespace = 0
    order by d.defaclobjtype`,
  `select 'schema perch' as item, 'lacking ' || string_agg(lower(l.privilege_type), ', ' order by l.privilege_type) || ' on schema perch' as line
     from pg_namespace n
    cross join lateral (select privilege_type from aclexplode(acldefault('n', n.nspowner)) where grantee = n.nspowner
                        except
                        select privilege_type from aclexplode(n.nspacl) where grantee = n.nspowner) l
    where n.nspname = 'perch' and n.nspacl is not null
   having count(*) > 0`,
];

const ofFunctions = [
  `select 'function ' || p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as item,
          concat_ws(' ', 'returns', pg_get_function_result(p.oid), l.lanname,
            case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
            case when p.proisstrict then 'strict' end, case when p.prosecdef then 'security definer' end,
            case p.proparallel when 's' then 'parallel safe' end,
            'set ' || array_to_string(p.proconfig, '; '), 'owner', pg_get_userbyid(p.proowner)) as line
     from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'perch'::regnamespace`,
  // What stands between quotes is compared with sql/; this was parsed when the function was made. (But for what perch.set_limit has made.)
  `select 'function ' || p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as item,
          pg_get_function_sqlbody(p.oid) as line
     from pg_proc p
    where p.pronamespace = 'perch'::regnamespace and p.prosqlbody is not null and p.proname <> 'limit_values'`,
  `select 'function ' || p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as item,
          'execute ' || string_agg(g.grantee, ', ' order by g.grantee) as line
     from pg_proc p
    cross join lateral (select case when grantee = 0 then 'public' else pg_get_userbyid(grantee) end as grantee
                          from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) where grantee <> p.proowner) g
    where p.pronamespace = 'perch'::regnamespace
    group by p.oid, item`,
  `select 'function ' || p.proname || '(' || pg_get_function_arguments(p.oid) || ')' as item,
          'lacking execute on function ' || p.oid::regprocedure as line
     from pg_proc p
    where p.pronamespace = 'perch'::regnamespace and p.proacl is not null
      and not exists (select from aclexplode(p.proacl) where grantee = p.proowner and privilege_type = 'EXECUTE')`,
];
