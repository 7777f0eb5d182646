-- What clients parse values by: the type and its modifiers, as the protocol names them. A column that is hidden from
-- the current user in one of these spaces is in none of the user's shapes: neither shown, nor named by a filter.
create or replace function perch.shape_columns(synced perch.synced_relations, spaces text[])
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select json_object_agg(a.attname, json_strip_nulls(json_build_object(
           'number', a.attnum, 'modifier', a.atttypmod,
           -- Of another schema's type (an enumeration, a domain, one of an extension) the name, and how it is spelled.
           'name', t.typname, 'spelled', format_type(a.atttypid, null),
           -- Comparing them is not pg_catalog's business: what an extension thinks equal may not be, byte by byte.
           'foreign', nullif(t.typnamespace <> 'pg_catalog'::regnamespace and t.typtype = 'b' and t.typelem = 0, false),
           -- What it is compared as, where that fails for no value. Of domains over domains and enumerations it is not
           -- said.
           'plain', case
             when t.typtype = 'e' then format_type(a.atttypid, null)
             when b.typnamespace = 'pg_catalog'::regnamespace and b.typtype = 'b' and b.typname = any (
               perch.plain_types()) then b.typname end,
           'collation', nullif(a.attcollation, b.typcollation),
           'schema', json_strip_nulls(json_build_object(
             'type', coalesce(e.typname, t.typname),
             'dims', case when e.oid is not null then greatest(a.attndims, 1) end,
             'pk_index', array_position(perch.key_columns(synced.relation), a.attname::text) - 1,
             'not_null', nullif(a.attnotnull, false),
             'max_length', case when coalesce(e.typname, t.typname) in ('varchar', 'text') and a.atttypmod > 0
               then a.atttypmod - 4 end,
             'length', case when coalesce(e.typname, t.typname) = 'bpchar' and a.atttypmod > 0 then a.atttypmod - 4
               when coalesce(e.typname, t.typname) in ('bit', 'varbit') and a.atttypmod > 0 then a.atttypmod end,
             'precision', case
               when coalesce(e.typname, t.typname) in ('time', 'timetz', 'timestamp', 'timestamptz')
                 and a.atttypmod >= 0 then a.atttypmod
               when coalesce(e.typname, t.typname) = 'numeric' and a.atttypmod > 3 then (a.atttypmod - 4) >> 16
               when coalesce(e.typname, t.typname) = 'interval' and a.atttypmod >= 0 and a.atttypmod & 65535 <> 65535
                 then a.atttypmod & 65535 end,
             'scale', case when coalesce(e.typname, t.typname) = 'numeric' and a.atttypmod > 3
               then (a.atttypmod - 4) & 65535 end,
             'fields', case when coalesce(e.typname, t.typname) = 'interval' and a.atttypmod >= 0
               then nullif(upper(substring(format_type(a.atttypid, a.atttypmod) from 'interval ([a-z ]+)')), '')
               end)))))::jsonb
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    join pg_type b on b.oid = coalesce(nullif(t.typbasetype, 0), t.oid)
    left join pg_type e on e.oid = t.typelem and t.typsubscript = 'array_subscript_handler'::regproc
   where a.attrelid = synced.relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
     and (synced.columns is null or a.attname = any (synced.columns)
          or a.attname = any (perch.key_columns(synced.relation)))
     and (synced.column_roles = '{}' or a.attname <> all (array(
       select unnest(perch.columns_hidden_from(synced, r.role))
         from unnest(perch.roles_in(spaces)) r (role))))
$$;

comment on function perch.shape_columns(perch.synced_relations, text[]) is
  'Private. The columns of a synced table that shapes of these spaces may show, by name: number, modifier, name and spelling of the type, plain, what it is compared as where that never fails, and schema, what the protocol says of it.';
