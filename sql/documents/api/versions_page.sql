create or replace function perch.versions_page(
  app_id text, table_name text, record_id text, space_id text, before bigint, max_count integer
)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select json_build_object(
             'versions', coalesce(json_agg(p order by p.seq desc), '[]'),
             'next', case when count(*) = versions_page.max_count then min(p.first_seq) end)
      from (
        select v.seq, v.first_seq, v.user_id, v.client_id, v.actor, perch.time_text(v.first_at) as first_at,
               perch.time_text(v.last_at) as last_at, v.updates, v.bytes
          from perch.document_versions(
                 versions_page.app_id, versions_page.table_name, versions_page.record_id, versions_page.space_id,
                 versions_page.before, versions_page.max_count) v) p);
end
$$;
grant execute on function perch.versions_page to perch_app;

comment on function perch.versions_page(text, text, text, text, bigint, integer) is
  'A page of perch.document_versions as JSON text: {"versions": [{"seq", "first_seq", "user_id", "client_id", "actor", "first_at", "last_at", "updates", "bytes"}], "next": what to pass as before for the next page, or null}. Errors: as perch.document_versions. Example: select perch.versions_page(app_id => ''notes'', table_name => ''pages'', record_id => ''p1'', space_id => null, before => null, max_count => 100);';
