-- Whoever takes a number of a space holds its counter until commit (perch.number_changes), so what a transaction wrote
-- there has numbers one behind the other: the first entry of another transaction ends it.
create or replace function perch.run_end(space_id text, seq bigint, upto bigint)
returns bigint
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select case when e.txid is null then run_end.seq
                else coalesce((
                  select l.seq - 1 from perch.sync_changes l
                   where l.space_id = run_end.space_id and l.seq > run_end.seq and l.seq <= run_end.upto
                     and l.txid is distinct from e.txid
                   order by l.seq limit 1), greatest(run_end.seq, run_end.upto)) end
      from (
        select (
          select l.txid from perch.sync_changes l
           where l.space_id = run_end.space_id and l.seq = run_end.seq limit 1)) e (txid));
end
$$;

comment on function perch.run_end(text, bigint, bigint) is
  'Private. The last number of the transaction that wrote the entry seq of a space, at most upto; seq itself where the transaction is not known.';
