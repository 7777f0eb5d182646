create or replace function perch.document_version(space_id text, app_id text, table_name text, record_id text,
  at_seq bigint default null)
returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(p.peer, p.counter), '{}')
    from (
      select e.key as peer, max(e.value::bigint) as counter
        from (
          select h.ends from perch.document_history h
           where h.space_id = document_version.space_id and h.app_id = document_version.app_id
             and h.table_name = document_version.table_name and h.record_id = document_version.record_id
             and (at_seq is null or h.seq <= at_seq)
          union all
          select u.ends from perch.document_updates u
           where u.space_id = document_version.space_id and u.app_id = document_version.app_id
             and u.table_name = document_version.table_name and u.record_id = document_version.record_id
             and (at_seq is null or u.seq <= at_seq)
        ) x cross join lateral jsonb_each_text(x.ends) e
       group by e.key
    ) p
$$;
grant execute on function perch.document_version to perch_worker;

comment on function perch.document_version(text, text, text, text, bigint) is
  'Private. The version of a document at a position (default: now): for each Loro peer the counter behind its last operation.';
