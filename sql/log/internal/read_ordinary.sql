-- perch.read_change in one expression, without its messages, for all changes at once: is_ordinary is true only where
-- that has nothing to say of any, which a test sees to. (base_revision, of documents alone, is not among the known keys
-- here.) Documents, and changes that have to be lifted, are out of the ordinary.
create or replace function perch.read_ordinary(
  app_id text, changes jsonb, now timestamptz, out accepted perch.change[], out is_ordinary boolean
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  personal constant text := perch.personal_space_id(perch.current_user_id());
  max_bytes constant bigint := perch.setting('max_change_bytes', 1048576);
  known constant text[] := '{op,table,id,data,field_meta,at,op_id,space_id,schema_version,base_seq,actor,origin}';
  tolerated constant timestamptz := now + perch.clock_tolerance();
begin
  select array_agg(row(c.position, c.space_id, c.table_name, c.record_id, c.op, c.data, c.field_meta, c.at, c.timeless,
           c.earliest, c.latest, c.op_id, c.digest, c.schema_version, null, c.actor, c.origin, c.size,
           false)::perch.change order by c.position),
         bool_and(c.ordinary)
    into accepted, is_ordinary
    from (
      select e.position, s.space_id, e.change ->> 'table' as table_name, e.change ->> 'id' as record_id,
             e.change ->> 'op' as op,
             case when e.change ->> 'op' <> 'delete' then coalesce(e.change -> 'data', '{}') end as data,
             f.field_meta, coalesce(t.at, now + e.position * interval '1 microsecond') as at, t.at is null as timeless,
             least(t.at, f.earliest) as earliest, greatest(t.at, f.latest) as latest,
             e.change ->> 'op_id' as op_id,
             case when s.said is not null then
               perch.change_digest(read_ordinary.app_id, s.space_id, s.said, s.given_at, f.field_times) end as digest,
             coalesce((e.change ->> 'schema_version')::integer, 1) as schema_version,
             e.change -> 'actor' as actor, e.change ->> 'origin' as origin,
             case when octet_length(s.content) > 2000 then octet_length(s.content) end as size,
             coalesce(octet_length(s.content) <= max_bytes
               and e.change - known = '{}'
               and case e.change ->> 'op' when 'delete' then not e.change ?| '{data,field_meta}'
                                          when 'insert' then true when 'update' then true else false end
               and jsonb_typeof(e.change -> 'table') = 'string' and jsonb_typeof(e.change -> 'id') = 'string'
               and octet_length(e.change ->> 'table') between 1 and 128
               and octet_length(e.change ->> 'id') between 1 and 256
               and concat(e.change ->> 'table', e.change ->> 'id', e.change ->> 'op_id', e.change ->> 'origin')
                   !~ E'[\\x01-\\x1f\\x7f]'
               and (not e.change ? 'data' or jsonb_typeof(e.change -> 'data') = 'object')
               and (not e.change ? 'op_id'
                    or jsonb_typeof(e.change -> 'op_id') = 'string'
                       and octet_length(e.change ->> 'op_id') between 1 and 256)
               and (not e.change ? 'at' or s.given_at is not null)
               and (not e.change ? 'field_meta' or f.ordinary or f.count = 0)
               and (not e.change ? 'space_id' or jsonb_typeof(e.change -> 'space_id') = 'string'
                    and e.change ->> 'space_id' = any ((select perch.writable_space_ids())::text[]))
               and (not e.change ?| '{schema_version,base_seq,actor,origin}'
                    or (not e.change ? 'schema_version'
                        or e.change ->> 'schema_version' ~ '^[1-9][0-9]{0,8}$'
                           and jsonb_typeof(e.change -> 'schema_version') = 'number')
                       and not e.change ? 'base_seq'
                       and (not e.change ? 'actor' or jsonb_typeof(e.change -> 'actor') = 'object')
                       and (not e.change ? 'origin'
                            or jsonb_typeof(e.change -> 'origin') = 'string'
                               and octet_length(e.change ->> 'origin') between 1 and 256))
               and (pg_column_size(e.change) <= 800 or not jsonb_path_exists(e.change, '$.**{100}'))
               and (octet_length(s.content) <= 300 or s.content !~ '[0-9]{255}')
               and (special.versions is null or not special.versions ? (e.change ->> 'table')
                    or special.versions -> (e.change ->> 'table') = coalesce(e.change -> 'schema_version', '1')),
               false) as ordinary
        from jsonb_array_elements(changes) with ordinality e (change, position)
       cross join (
         select jsonb_object_agg(t.table_name, t.version) from (
           select d.table_name, 0 from perch.document_tables d where d.app_id = read_ordinary.app_id
           union all
           select d.table_name, 0 from perch.encrypted_tables d where d.app_id = read_ordinary.app_id
           union all
           select v.table_name, v.current_version from perch.schema_versions v where v.app_id = read_ordinary.app_id
         ) t (table_name, version)) special (versions)
       -- Offset 0: else each use of these would make them anew.
       cross join lateral (
         select case when pg_column_size(e.change) <= max_bytes * 8 then e.change::text end as content,
                coalesce(e.change ->> 'space_id', personal) as space_id,
                tolerated + (e.position - 1) * interval '1 microsecond' as horizon,
                case when e.change ? 'op_id' then perch.change_content(e.change) end as said,
                case when perch.is_time(e.change ->> 'at') and right(e.change ->> 'at', 1) = 'Z'
                     then (e.change ->> 'at')::timestamptz end as given_at
         offset 0) s
        left join lateral (
          select jsonb_object_agg(m.key, perch.time_text(least(m.given_at, s.horizon))) as field_meta,
                 least(min(m.given_at), s.horizon) as earliest, least(max(m.given_at), s.horizon) as latest,
                 jsonb_object_agg(m.key, perch.time_text(m.given_at)) filter (where s.said is not null) as field_times,
                 bool_and(m.given_at is not null and (e.change -> 'data') ? m.key) as ordinary, count(*) as count
            from (
              select w.key, case when perch.is_time(w.value) and right(w.value, 1) = 'Z'
                                 then w.value::timestamptz end as given_at
                from jsonb_each_text(e.change -> 'field_meta') w offset 0) m
          ) f on e.change ? 'field_meta'
       cross join lateral (
         select case when e.change ? 'at' then least(s.given_at, s.horizon)
                     -- Every field says when it was written.
                     when f.count > 0 and e.change ->> 'op' = 'update'
                          and f.count = (select count(*) from jsonb_object_keys(e.change -> 'data')) then f.latest
                end) t (at)
    ) c;
exception when data_exception or program_limit_exceeded then
  is_ordinary := false;
end
$$;

comment on function perch.read_ordinary(text, jsonb, timestamptz) is
  'Private. Changes of a push, checked all at once; is_ordinary: nothing is wrong with any of them, and each is an ordinary one. Otherwise perch.check_changes has to read them.';
