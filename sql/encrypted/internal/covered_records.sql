-- A record takes nothing away but what its own author sent: a span the spans that it covers (what was sent again,
-- perhaps under a new key), a snapshot those that it claims to contain.
create or replace function perch.covered_records(
  entry perch.encrypted_records, max_looks integer, out seqs bigint[], out bytes bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if entry.version is null then
    select coalesce(array_agg(x.seq), '{}'), coalesce(sum(x.size), 0) into seqs, bytes
      from (
        select y.seq, y.first, y.user_id, octet_length(y.payload) as size from perch.encrypted_records y
         where y.space_id = entry.space_id and y.app_id = entry.app_id and y.table_name = entry.table_name
           and y.record_id = entry.record_id and y.peer_id = entry.peer_id
           and y.next > entry.first and y.next <= entry.next
         order by y.next limit max_looks) x
     where x.first >= entry.first and x.user_id = entry.user_id;
  else
    select coalesce(array_agg(x.seq), '{}'), coalesce(sum(octet_length(x.payload)), 0) into seqs, bytes
      from perch.encrypted_records x
     where x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
       and x.record_id = entry.record_id and x.peer_id is null and x.user_id = entry.user_id
       and not exists (
         select from jsonb_each_text(x.version) v
          where v.value::bigint > coalesce((entry.version ->> v.key)::bigint, 0));
  end if;
end
$$;
grant execute on function perch.covered_records to perch_worker;

comment on function perch.covered_records(perch.encrypted_records, integer) is
  'Private. The records that one which is to be stored replaces, of at most max_looks that a span may cover, and how long they are together.';
