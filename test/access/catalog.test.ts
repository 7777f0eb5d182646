import { beforeAll, expect, it } from "vitest";
import { describeEachEngine, type TestDatabase } from "../support/databases.js";

/** Unique indexes that neither space_id nor tenant_id leads, and why none of them tells that somebody else's row exists. */
const unledIndexes: Record<string, string> = {
  log_epoch_pkey: "one row, the same for everybody",
  document_tables_pkey: "declarations, which everybody may read; a reference table when distributed",
  schema_versions_pkey: "as document_tables_pkey",
  schema_upgrades_pkey: "as document_tables_pkey",
  limits_pkey: "as document_tables_pkey, though only perch's functions read it",
  synced_relations_pkey: "as document_tables_pkey",
  synced_relations_relation_key: "as document_tables_pkey",
  closed_logs_pkey: "as document_tables_pkey",
  readers_pkey: "as document_tables_pkey, though only perch's functions read it",
  commit_order_pkey: "one order over all spaces, for readers of services",
  commit_order_by_position: "as commit_order_pkey",
  begun_epochs_pkey: "what happened to the whole database, which no user touches",
  captured_changes_pkey: "a queue in the order of writing, which no user touches; each node's own when distributed",
  sequencer_pkey: "one row, which no user touches",
  mutators_pkey: "as limits_pkey",
  field_kinds_pkey: "what perch knows, the same for everybody",
  notifier_pkey: "one row, which no user touches",
  encrypted_tables_pkey: "as document_tables_pkey",
  presence_head_pkey: "as notifier_pkey",
  console_actions_pkey: "what was done in the console, which no user touches",
  presence_nodes_pkey: "perch's own processes, which no user touches",
  migrations_pkey: "the ledger of migrations, which no user touches",
  applied_release_pkey: "one row, which no user touches",
  applied_sql_pkey: "the ledger of sql/, which no user touches",
};

describeEachEngine("the catalog", (open) => {
  let t: TestDatabase;
  beforeAll(async () => {
    t = await open();
  });
  const names = async (sql: string): Promise<string[]> => {
    const rows = await t.db.query<{ name: string }>(sql);
    return rows.map(({ name }) => name).sort();
  };
  const functions = "pg_proc p where p.pronamespace = 'perch'::regnamespace";

  it("has no function without a pinned search_path that runs with other rights or that anybody may call", async () => {
    // A pinned path keeps Postgres from inlining. Small SQL functions go without: a body after RETURN is resolved when it is made,
    // whatever the caller's path; a quoted one is for pinned functions alone to call.
    expect(
      await names(
        `select p.proname as name from ${functions}
            and not coalesce(p.proconfig, '{}') && array['search_path=pg_catalog, pg_temp']
            and (p.prosecdef or p.prosqlbody is null and (
                   p.prolang <> (select oid from pg_language where lanname = 'sql')
                   or has_function_privilege('perch_app', p.oid, 'execute') or has_function_privilege('perch_worker', p.oid, 'execute')))`,
      ),
    ).toEqual([]);
  });

  it("belongs to perch_owner whole, who is neither superuser nor BYPASSRLS and cannot log in", async () => {
    expect(await names(`select p.proname as name from ${functions} and p.proowner <> 'perch_owner'::regrole`)).toEqual(
      [],
    );
    expect(
      await names(
        "select relname as name from pg_class where relnamespace = 'perch'::regnamespace and relowner <> 'perch_owner'::regrole",
      ),
    ).toEqual([]);
    expect(
      await names(
        `select rolname as name from pg_roles where rolname in ('perch_owner', 'perch_app', 'perch_worker')
            and not rolsuper and not rolbypassrls and not rolcanlogin and not rolcreaterole and not rolcreatedb`,
      ),
    ).toEqual(["perch_app", "perch_owner", "perch_worker"]);
  });

  it("grants nothing to PUBLIC, now or by default", async () => {
    expect(
      await names(
        `select p.proname as name from ${functions}
            and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)`,
      ),
    ).toEqual([]);
    expect(
      await names(
        `select c.relname as name from pg_class c where c.relnamespace = 'perch'::regnamespace
            and exists (select from aclexplode(c.relacl) a where a.grantee = 0)`,
      ),
    ).toEqual([]);
    expect(
      await names(
        `select c.relname || '.' || a.attname as name from pg_attribute a join pg_class c on c.oid = a.attrelid
          where c.relnamespace = 'perch'::regnamespace and exists (select from aclexplode(a.attacl) x where x.grantee = 0)`,
      ),
    ).toEqual([]);
    expect(
      await names(
        `select n.nspname as name from pg_namespace n
          where n.nspname = 'perch' and exists (select from aclexplode(n.nspacl) a where a.grantee = 0)`,
      ),
    ).toEqual([]);
    await t.db.transaction(async (tx) => {
      await tx.query("set local role perch_owner");
      await tx.query("create function perch.made_later() returns void language sql as ''");
      const [row] = await tx.query("select has_function_privilege('public', 'perch.made_later()', 'execute') as may");
      expect(row).toEqual({ may: false });
      await tx.query("drop function perch.made_later()");
    });
  });

  it("forces row level security on every table", async () => {
    expect(
      await names(
        `select relname as name from pg_class where relnamespace = 'perch'::regnamespace and relkind in ('r', 'p')
            and not (relrowsecurity and relforcerowsecurity)`,
      ),
    ).toEqual([]);
  });

  it("lets no view read with its owner's rights", async () => {
    expect(
      await names(
        `select relname as name from pg_class where relnamespace = 'perch'::regnamespace and relkind in ('v', 'm')
            and not (relkind = 'v' and coalesce(reloptions, '{}') && array['security_invoker=true', 'security_invoker=on'])`,
      ),
    ).toEqual([]);
  });

  it("leads every unique index by space_id or tenant_id, but for the exceptions named here", async () => {
    expect(
      await names(
        `select i.indexrelid::regclass::text as name
           from pg_index i join pg_class c on c.oid = i.indrelid
           left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
          where c.relnamespace = 'perch'::regnamespace and i.indisunique
            and coalesce(a.attname, '') not in ('space_id', 'tenant_id')`,
      ),
    ).toEqual(
      Object.keys(unledIndexes)
        .map((name) => `perch.${name}`)
        .sort(),
    );
  });

  it("explains every function, table and view in a comment", async () => {
    expect(
      await names(
        `select p.proname as name from ${functions} and coalesce(obj_description(p.oid, 'pg_proc'), '') = ''`,
      ),
    ).toEqual([]);
    expect(
      await names(
        `select relname as name from pg_class where relnamespace = 'perch'::regnamespace and relkind in ('r', 'p', 'v')
            and coalesce(obj_description(oid, 'pg_class'), '') = ''`,
      ),
    ).toEqual([]);
  });

  it("marks what is not for apps or workers as private, and grants nothing of that to apps but what policies call", async () => {
    const granted = (role: string) => `has_function_privilege('${role}', p.oid, 'execute')`;
    const isPrivate = "obj_description(p.oid, 'pg_proc') like 'Private.%'";
    expect(
      await names(`select p.proname as name from ${functions} and ${isPrivate} and ${granted("perch_app")}`),
    ).toEqual(["is_unowned_space_of_mine", "logs_with_rules", "owns_space"]);
    expect(
      await names(
        `select p.proname as name from ${functions} and not ${isPrivate}
            and not ${granted("perch_app")} and not ${granted("perch_worker")}
            and obj_description(p.oid, 'pg_proc') not like 'For the DBA%'`,
      ),
    ).toEqual([]);
  });

  it("wraps every call in a policy so that it is made once a statement, but for those with a row's column", async () => {
    const rows = await names(
      `select tablename || '.' || policyname || ': ' || coalesce(qual, '') || ' / ' || coalesce(with_check, '') as name
         from pg_policies where schemaname = 'perch'`,
    );
    const unwrapped = rows.filter((row) =>
      /(?<!SELECT )perch\.(current_user_id|current_space_ids|writable_space_ids|current_tenant_id)\(\)/.test(row),
    );
    expect(rows.length).toBeGreaterThan(20);
    expect(unwrapped).toEqual([]);
  });
});
