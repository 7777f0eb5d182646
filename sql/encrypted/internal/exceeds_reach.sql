-- The reaches of its peers are read in one look at their index, not in one for each.
create or replace function perch.exceeds_reach(entry perch.encrypted_records)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select exists (
    select from jsonb_each_text(entry.version) v
      left join (
        select encode(r.peer_id, 'hex') as peer, r.reach from perch.encrypted_reaches r
         where r.space_id = entry.space_id and r.app_id = entry.app_id and r.table_name = entry.table_name
           and r.record_id = entry.record_id
           and r.peer_id = any (array(select decode(k, 'hex') from jsonb_object_keys(entry.version) k))
        offset 0) x on x.peer = v.key
     where v.value::bigint > coalesce(x.reach, 0))
$$;
grant execute on function perch.exceeds_reach to perch_worker;

comment on function perch.exceeds_reach(perch.encrypted_records) is
  'Private. Whether a snapshot says that it has what the document does not have as spans, without a gap, from those to whom the peers belong.';
