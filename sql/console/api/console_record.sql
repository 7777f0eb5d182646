-- Who wrote a field last is in the log alone: its latest entry that names the field. No index leads from a record to
-- its entries (each would cost every push a write), so they are looked for among the last 5,000 of the space, from the
-- record's own number down; a field that was last written before has no author here.
create or replace function perch.console_record(space_id text, app_id text, table_name text, record_id text)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  r perch.stored_records;
  answer json;
begin
  perform perch.require_console();
  select x.* into r
    from perch.stored_records x
   where x.space_id = console_record.space_id and x.app_id = console_record.app_id
     and x.table_name = console_record.table_name and x.record_id = console_record.record_id;
  if not found then
    perform perch.fail('PE404', 'there is no such record', jsonb_build_object('space_id', console_record.space_id,
      'app_id', console_record.app_id, 'table', console_record.table_name, 'id', console_record.record_id));
  end if;
  with entries as (
    select s.seq, s.op, s.user_id, s.client_id, s.created_at, s.origin, s.actor,
           coalesce(s.changed_fields, array(select jsonb_object_keys(
             case when jsonb_typeof(s.data) = 'object' then s.data else '{}' end))) as fields
      from perch.sync_changes s
     where s.space_id = r.space_id and s.seq <= r.seq and s.seq > r.seq - 5000
       and s.app_id = r.app_id and s.table_name = r.table_name and s.record_id = r.record_id
  ), authors as (
    select distinct on (n.name) n.name, e.user_id, e.seq
      from entries e cross join unnest(e.fields) n (name)
     order by n.name, e.seq desc
  ), fields as (
    select f.key, f.value from jsonb_each(r.data) f
    union all
    select l.key, l.value from jsonb_each(coalesce(r.long_data, '{}')) l
  )
  select json_build_object(
           'space_id', r.space_id, 'app_id', r.app_id, 'table', r.table_name, 'id', r.record_id,
           'kind', perch.table_kind(r.app_id, r.table_name), 'seq', r.seq, 'deleted', r.deleted,
           'schema_version', r.schema_version, 'user_id', r.user_id, 'created_at', perch.time_text(r.created_at),
           'updated_at', perch.time_text(r.updated_at),
           'fields', (
             select coalesce(json_agg(json_build_object('name', f.key, 'value', left(f.value::text, 20000),
                      'length', length(f.value::text),
                      'stamp', coalesce(r.field_meta ->> f.key,
                                 concat_ws(' ', perch.time_text(r.written_at), r.written_by)),
                      'user_id', e.user_id, 'seq', e.seq) order by f.key), '[]')
               from (select * from fields order by key limit 500) f
               left join authors e on e.name = f.key),
           'entries', (
             select coalesce(json_agg(json_build_object('seq', e.seq, 'op', e.op, 'user_id', e.user_id,
                      'client_id', e.client_id, 'origin', e.origin, 'actor', e.actor, 'fields', e.fields[1:50],
                      'created_at', perch.time_text(e.created_at)) order by e.seq desc), '[]')
               from (select * from entries order by seq desc limit 50) e))
    into answer;
  return answer;
end
$$;
grant execute on function perch.console_record to perch_worker;

comment on function perch.console_record(text, text, text, text) is
  'For perch_worker, of the console: one record with each field''s value (its first 20,000 letters), stamp ("time client"), and author as far as the last 5,000 entries of the space tell: {…, "fields": [{"name", "value", "length", "stamp", "user_id", "seq"}], "entries": […]}. Errors: PE401, PE404.';
