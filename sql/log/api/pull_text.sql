-- Not stable, as what reads the page is (perch.pull_page): with no worker there, what was captured of synced tables
-- gets its numbers here first, and is on the page, which is read in a snapshot that is taken behind it.
create or replace function perch.pull_text(
  app_id text, cursor jsonb default '{}', page_size integer default 1000, tables text[] default null,
  exclude_client_id text default null, schema_versions jsonb default null, fields jsonb default null
)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.number_waiting();
  return perch.pull_page(pull_text.app_id, pull_text.cursor, pull_text.page_size, pull_text.tables,
    pull_text.exclude_client_id, pull_text.schema_versions, pull_text.fields);
end
$$;
grant execute on function perch.pull_text to perch_app;

comment on function perch.pull_text(text, jsonb, integer, text[], text, jsonb, jsonb) is
  'What perch.pull returns, as JSON text in one line, for programs that parse it themselves or pass it on: it is made in half the time. Arguments and errors: as perch.pull. Example: select perch.pull_text(app_id => ''todo'', cursor => ''{}'', page_size => 500);';
