-- What few may see stays hidden when its column is renamed.

-- Up Migration

alter table perch.synced_relations add column column_role_numbers jsonb not null default '{}';
comment on column perch.synced_relations.column_role_numbers is
  'Where the columns of column_roles stand in the table, by name: one that was renamed is found by it, and stays hidden.';
update perch.synced_relations r
   set column_role_numbers = (
     select coalesce(json_object_agg(a.attname, a.attnum)::jsonb, '{}') from pg_attribute a
      where a.attrelid = r.relation and a.attnum > 0 and not a.attisdropped and r.column_roles ? a.attname)
 where r.column_roles <> '{}';
drop function if exists perch.columns_hidden_from(jsonb, text);
drop function if exists perch.place_outer(oid, bigint, bigint);

-- Down Migration

drop function if exists perch.place_outer(oid, bigint, bigint, bigint);
drop function if exists perch.columns_hidden_from(perch.synced_relations, text);
alter table perch.synced_relations drop column column_role_numbers;
