-- By way of text, which is parsed once: jsonb that is put together from jsonb is copied at every level.
create or replace function perch.snapshot_records(
  app_id text, space_id text default null, after text default null, page_size integer default 1000,
    cursor jsonb default null,
  tables text[] default null, schema_versions jsonb default null, fields jsonb default null
)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  max_count integer := snapshot_records.page_size;
begin
  loop
    begin
      return perch.snapshot_text(snapshot_records.app_id, snapshot_records.space_id, snapshot_records.after, max_count,
        snapshot_records.cursor, snapshot_records.tables, snapshot_records.schema_versions,
        snapshot_records.fields)::jsonb;
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
grant execute on function perch.snapshot_records to perch_app;

comment on function perch.snapshot_records(text, text, text, integer, jsonb, text[], jsonb, jsonb) is
  'The live records of a space (null: the personal one), a page at a time, and a cursor from which pulling misses nothing: pass next as after until it is null, and everything else unchanged. Returns {"records": [{"table", "id", "data", "field_meta", "seq", "inserted_at", "deleted_at", "schema_version"}], "cursor", "next"}. field_meta has the stamp of each field, the time and, after a space, the client that wrote it (2026-01-01T10:00:00.000000Z client); stamps compare byte by byte, the greater wins, so a client goes on merging with them what it pulls. seq: the changes of the record up to this number are in it. cursor: that of a client that reads several spaces; the one returned has its positions, but for this space, that of the snapshot. What is withheld: as in perch.pull. tables, schema_versions and fields: as for perch.pull, which must get the same tables. Errors: PE401, PE403, PE410 when the log was restored between two pages, or other rules hold for this user than on the first, PE413, PE422. Example: select perch.snapshot_records(app_id => ''todo'', space_id => ''team'');';
