create or replace function perch.document_versions(
  app_id text, table_name text, record_id text, space_id text default null, before bigint default null,
    max_count integer default 100
)
returns table (seq bigint, first_seq bigint, user_id text, client_id text, actor jsonb, first_at timestamptz,
  last_at timestamptz, updates bigint, bytes bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  space constant text := perch.require_space(document_versions.space_id, to_write => false);
begin
  perform perch.check_id(document_versions.record_id, 'record_id');
  perform perch.document_fields(document_versions.app_id, document_versions.table_name);
  perform perch.require_in_sight(perch.document_relation(document_versions.app_id, document_versions.table_name),
    space, document_versions.record_id);
  if document_versions.max_count is null or document_versions.max_count not between 1 and 1000 then
    perform perch.fail('PE422', 'max_count is not from 1 to 1000',
      jsonb_build_object('argument', 'max_count', 'expected', '1 to 1000', 'got', document_versions.max_count));
  end if;
  return query
    select v.seq, v.first_seq, v.user_id, v.client_id, v.actor, v.first_at, v.last_at, v.updates, v.bytes
      from (
        select s.seq, s.first_seq, s.user_id, s.client_id, s.actor, s.first_at, s.last_at, s.updates, s.bytes
          from perch.history_ranges(array(
            select u from perch.document_updates u
             where u.space_id = space and u.app_id = document_versions.app_id
               and u.table_name = document_versions.table_name and u.record_id = document_versions.record_id
               and (before is null or u.seq < before))) s
        union all
        (select h.seq, h.first_seq, h.user_id, h.client_id, h.actor, h.first_at, h.last_at, h.updates, h.bytes
           from perch.document_history h
          where h.space_id = space and h.app_id = document_versions.app_id
            and h.table_name = document_versions.table_name and h.record_id = document_versions.record_id
            and (before is null or h.seq < before)
          order by h.seq desc
          limit document_versions.max_count)
      ) v
     order by v.seq desc
     limit document_versions.max_count;
end
$$;
grant execute on function perch.document_versions to perch_app;

comment on function perch.document_versions(text, text, text, text, bigint, integer) is
  'Who changed a document when, the latest first: one row for a stretch of updates (from first_seq to seq) of one author without a pause of more than a minute. before: only what is earlier than this seq, for the next page; max_count: 1 to 1000. Errors: PE401, PE403, PE404 when the table is not declared, PE422.';
