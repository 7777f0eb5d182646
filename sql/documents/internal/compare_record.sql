-- Lock order: the record, behind the row of its document (docs/architecture.md, "The order of locks").
--
-- Of a record's fields each is either in data (short) or in long_data (long, named in long_fields). The long ones are
-- read, and written, only where one of them may have changed.
create or replace function perch.compare_record(
  space_id text, app_id text, table_name text, record_id text, data jsonb, is_whole boolean
)
returns perch.record_difference
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  given constant jsonb := compare_record.data;
  found_record boolean;
  before jsonb;               -- its short fields
  long_before jsonb;
  longs_before text[];
  bytes_before integer;
  now perch.record_difference;
begin
  select r.deleted, r.data, r.long_fields, r.size into now.is_new, before, longs_before, bytes_before
    from perch.stored_records r
   where r.space_id = compare_record.space_id and r.app_id = compare_record.app_id
     and r.table_name = compare_record.table_name and r.record_id = compare_record.record_id
     for no key update;
  now.is_new := coalesce(now.is_new, true);
  if given ?| longs_before or longs_before is not null and perch.is_long(given) then
    long_before := perch.long_data_of(space_id, app_id, table_name, record_id);
  end if;
  -- In memory once: each look at a value that is stored compressed would unpack it again.
  before := before || '{}';

  select array_agg(n.key order by n.key)
           filter (where now.is_new or n.value is distinct from coalesce(before -> n.key, long_before -> n.key)),
         array_agg(n.key order by n.key) filter (where perch.is_long(n.value))
    into now.changed, now.long_fields
    from jsonb_each(given) n;
  if now.changed is null then
    return now;
  end if;
  if not is_whole and longs_before is not null then
    -- Long fields that are not given stay.
    now.long_fields := nullif(array(
      select f from unnest(longs_before) f where not given ? f union all select unnest(now.long_fields)
        order by 1), '{}');
  end if;

  -- Where the names are the same and none of these has changed, long_data stays as it is. What leaves it is short now,
  -- and given.
  now.moves := now.is_new or now.long_fields is distinct
    from longs_before or coalesce(now.long_fields && now.changed, false);
  now.short := case when is_whole then given else before || given end - coalesce(now.long_fields, '{}');
  if now.moves then
    now.long := case when now.long_fields is not null then (coalesce(long_before, '{}') || given) - array(
      select k from jsonb_object_keys(coalesce(long_before, '{}') || given) k where k <> all (now.long_fields)) end;
  end if;

  -- What stays as it is need not be written out to be measured.
  if now.moves then
    now.bytes := perch.record_size(now.short, now.long, null, null);
  elsif bytes_before is not null then
    now.bytes := nullif(greatest(
      bytes_before - octet_length(before::text) + octet_length(now.short::text), 4000), 4000);
  else
    if now.long_fields is not null and long_before is null then
      long_before := perch.long_data_of(space_id, app_id, table_name, record_id);
    end if;
    now.bytes := perch.record_size(now.short, long_before, null, null);
  end if;
  return now;
end
$$;
grant execute on function perch.compare_record to perch_worker;

comment on function perch.compare_record(text, text, text, text, jsonb, boolean) is
  'Private. Locks the record of a document, and says how it is to change to show data: all its fields (is_whole), or some. changed is null when it shows them already; then only is_new tells something: whether there is no record, or a deleted one.';
