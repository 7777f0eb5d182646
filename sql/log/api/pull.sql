-- By way of text, which is parsed once: jsonb that is put together from jsonb is copied at every level.
create or replace function perch.pull(
  app_id text, cursor jsonb default '{}', page_size integer default 1000, tables text[] default null,
  exclude_client_id text default null, schema_versions jsonb default null, fields jsonb default null
)
returns jsonb
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  max_count integer := pull.page_size;
begin
  loop
    begin
      return perch.pull_text(
        pull.app_id, pull.cursor, max_count, pull.tables, pull.exclude_client_id, pull.schema_versions,
        pull.fields)::jsonb;
    exception when program_limit_exceeded then
      -- More JSON than fits into one jsonb.
      if max_count = 1 then
        raise;
      end if;
      max_count := greatest(1, max_count / 4);
    end;
  end loop;
end
$$;
grant execute on function perch.pull to perch_app;

comment on function perch.pull(text, jsonb, integer, text[], text, jsonb, jsonb) is
  'The changes of the spaces that the current user may read, after the cursor ({}: from the beginning), oldest first within each space; about page_size (1 to 10000), and fewer when they are long (max_page_bytes, of text) or when much else lies between them: pull on while has_more. What one transaction wrote in a space is never on two pages: a page goes on to its end, for up to 10000 changes more than page_size. One that is larger than that, or than max_page_bytes, comes in parts, and all pages but its last have "unfinished": {"space_id", "txid"}. A change that alone is longer, or that an upgrade cannot lift, has data null and "withheld": {"reason": "too_large|upgrade_failed", "bytes", "max"}; the answer then has "withheld": {"too_large", "upgrade_failed"}, their numbers. Returns {"changes": [{"space_id", "seq", "op", "table", "id", "data", "field_meta", "at", "deleted_at", "user_id", "client_id", "op_id", "txid", "schema_version", "actor", "origin", "created_at"}], "cursor", "has_more", "revoked_space_ids"}. field_meta names when a field was written, where that is not at, and after a space by whom, where that is not client_id; deleted_at is the latest deletion of the record: with the rule of perch.merge_changes a client that merges what it pulls has the server''s records. Of a document table data holds the current values of the fields that changed. tables: only these; the cursor then belongs to them. exclude_client_id: without what the current user pushed as this client, but in each space only once the cursor has first reached the end of its log. schema_versions: {"tasks": 3} are the versions the client knows; older changes are lifted to them, newer ones come as they are. fields: {"pages": ["title"]} says of tables which fields are wanted; data and field_meta then have no other, and a change of others alone comes with data {}. The cursor is that of all fields: whoever wants more from then on takes a snapshot. revoked_space_ids names, once, the spaces of the cursor that may no longer be read. Errors: PE401, PE410 with {"spaces": [{"space_id", "reason": "expired|ahead|epoch", "oldest_seq", "latest_seq"}]} when the log does not go on from the cursor, or the entry at which it stands is not the one it was given, or, with "cause": "rules|role", other rules of a synced table hold for this user than when it was given (then take perch.snapshot_records), PE413, PE422. Example: select perch.pull(app_id => ''todo'', cursor => ''{}'', page_size => 500);';
