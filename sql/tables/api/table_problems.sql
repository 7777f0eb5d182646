-- All of it is asked of the catalog, which everybody may read; but for what a row_filter or a space_expression
-- fails for.
create or replace function perch.table_problems(relation regclass)
returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with synced as (
    select r.*, c.oid as place, c.relkind, c.relrowsecurity, c.relnamespace from perch.synced_relations r
      left join pg_class c on c.oid = r.relation
     where r.relation = table_problems.relation
  ),
  triggers as (
    select t.tgrelid, t.tgname, t.tgenabled, t.tgargs
      from synced s
      join lateral (select p.relid from pg_partition_tree(s.place) p union select s.place) p (relid) on true
      join pg_trigger t on t.tgrelid = p.relid
      join pg_proc f on f.oid = t.tgfoid and f.pronamespace = 'perch'::regnamespace
  )
  select coalesce(array_agg(p.problem order by p.nth, p.problem), '{}')
    from (
      select 1, 'the table was dropped' from synced s where s.place is null
      union all
      select 2, format('its trigger %s is missing', w.name)
        from synced s
       cross join unnest(case when s.relkind = 'p' or s.always
                                then '{perch_capture,perch_truncate,perch_truncated}'::text[]
                              else '{perch_insert,perch_update,perch_delete,perch_truncate}' end
         || case when s.documents <> '{}' then '{perch_written,perch_truncate_written}'::text[] else '{}' end) w (name)
       where s.place is not null and not exists (select from triggers t where t.tgrelid = s.place and t.tgname = w.name)
      union all
      select 3, format('the trigger %s of %s is disabled', t.tgname, t.tgrelid::regclass)
        from triggers t cross join synced s
       where t.tgenabled not in ('O', 'A')
      union all
      select 3, format('the trigger %s of %s does not fire for replication''s appliers, as always asks', t.tgname,
        t.tgrelid::regclass)
        from triggers t cross join synced s
       where t.tgenabled = 'O' and s.always
      union all
      select 4, format('TRUNCATE of its partition %s is not captured', p.relid::regclass)
        from synced s cross join lateral pg_partition_tree(s.place) p
       where s.relkind = 'p' and p.isleaf
         and not exists (select from triggers t where t.tgrelid = p.relid and t.tgname = 'perch_truncate')
      union all
      select 5, 'it has no primary key any more' from synced s where s.place is not null
        and perch.key_columns(s.place) is null
      union all
      select 6, format('it has no column %s any more', n.name)
        from synced s
       cross join lateral (
         select s.space_column union select unnest(s.columns) union select unnest(s.writable_columns)
           union select jsonb_object_keys(s.column_roles)::name
           union select jsonb_object_keys(s.documents)::name) n (name)
       where s.place is not null and n.name is not null and not exists (
         select from pg_attribute a where a.attrelid = s.place and a.attname = n.name and not a.attisdropped)
      union all
      select 7, format('%s is of type %s, which is not captured exactly, or not at all', a.attname,
        format_type(a.atttypid, null))
        from synced s join pg_attribute a on a.attrelid = s.place and a.attnum > 0
          and not a.attisdropped and perch.inexact_type(a.atttypid) is not null
      union all
      select 7, format('%s, and what is written %s is not captured', t.what, t.how)
        from synced s
       cross join lateral (
         select 'it has become a partition' as what, 'by way of the table that it is part of' as how
          where exists (select from pg_class c where c.oid = s.place and c.relispartition)
         union all
         select format('%s inherits from it', i.inhrelid::regclass), 'there'
           from pg_inherits i where i.inhparent = s.place and s.relkind = 'r') t
      union all
      select 8, 'perch_owner may not read it, as snapshots do' from synced s
       where s.place is not null and not (has_table_privilege('perch_owner', s.place, 'SELECT')
         and has_schema_privilege('perch_owner', s.relnamespace, 'USAGE'))
      union all
      select 9, 'its row level security hides rows from perch_owner' from synced s
       where s.relrowsecurity and (
         not exists (select from pg_policy p where p.polrelid = s.place and p.polname = 'perch_reads')
         or exists (select from pg_policy p where p.polrelid = s.place and not p.polpermissive and p.polcmd in ('r',
           '*')
                       and p.polroles && array[0::oid, 'perch_owner'::regrole::oid]))
      union all
      select 10, f.problem from synced s cross join lateral unnest(perch.filter_problems(s.relation)) f (problem)
       where s.row_filter is not null
      union all
      select 11, e.problem from synced s cross join lateral unnest(perch.space_problems(s.relation)) e (problem)
       where s.space_expression is not null) p (nth, problem)
$$;
grant execute on function perch.table_problems to perch_worker;

comment on function perch.table_problems(regclass) is
  'For perch_worker and the DBA: what is wrong with a synced table: triggers that are missing or disabled, partitions without, columns that are gone, rows that perch_owner may not read, or for which the row_filter or the space_expression fails. Most is mended by calling perch.sync_table again. Example: select perch.table_problems(relation => ''public.orders'');';
