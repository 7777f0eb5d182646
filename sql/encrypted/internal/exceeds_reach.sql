create or replace function perch.exceeds_reach(entry perch.encrypted_records)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from jsonb_each_text(entry.version) v
      left join perch.encrypted_reaches x
        on x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
       and x.record_id = entry.record_id and x.peer_id = decode(v.key, 'hex')
     where v.value::bigint > coalesce(x.reach, 0))
$$;
grant execute on function perch.exceeds_reach to perch_worker;

comment on function perch.exceeds_reach(perch.encrypted_records) is
  'Private. Whether a snapshot says that it has what the document does not have as spans, without a gap, from those to whom the peers belong.';
