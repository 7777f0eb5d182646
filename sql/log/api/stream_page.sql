-- One call, which is a transaction by itself: a commit may wake many readers, and each of them pulls.
create or replace function perch.stream_page(
  user_id text, space_ids text[], writable_space_ids text[], page_bytes bigint, app_id text, cursor jsonb,
  page_size integer, tables text[], exclude_client_id text, schema_versions jsonb, fields jsonb default null
)
returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.set_context(stream_page.user_id, stream_page.space_ids, stream_page.writable_space_ids);
  perform set_config('perch.page_bytes', stream_page.page_bytes::text, true);
  return perch.pull_text(stream_page.app_id, stream_page.cursor, stream_page.page_size, stream_page.tables,
    stream_page.exclude_client_id, stream_page.schema_versions, stream_page.fields);
end
$$;
grant execute on function perch.stream_page to perch_app;

comment on function perch.stream_page(text, text[], text[], bigint, text, jsonb, integer, text[], text, jsonb, jsonb) is
  'Used by the event streams: names the user for the rest of the transaction, as perch.set_context does, and pulls, as perch.pull_text does, a page of page_bytes at most. Errors: as of these two.';
