-- Lock order: the receipts, by op_id (docs/architecture.md, "The order of locks").
--
-- Of two transactions with the same op_id at once, the second waits here until the first has committed (and then finds
-- its receipt) or rolled back (and then claims the op_id itself).
create or replace function perch.claim_changes(
  accepted perch.change[], app_id text, now timestamptz, out fresh perch.change[], out repeated perch.change[]
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  personal constant text := perch.personal_space_id(perch.current_user_id());
  synced constant text[] := array(
    select r.table_name from perch.synced_relations r where r.app_id = claim_changes.app_id);
  op_ids bigint;
  claimed text[];
  places integer[];
begin
  fresh := accepted;
  repeated := '{}';
  select count(c.op_id) into op_ids from unnest(accepted) c;
  if op_ids = 0 then
    return;
  end if;
  with claims as (
    insert into perch.push_receipts (space_id, op_id, digest, created_at, result)
    select personal, c.op_id, c.digest, now,
           -- Of a row the result is known; it has no number that the log would tell.
           case when c.table_name = any (synced) and c.op <> 'call' then
             jsonb_build_object('space_id', c.space_id, 'seq', null, 'txid', pg_current_xact_id()::text) end
      from unnest(accepted) c where c.op_id is not null order by c.op_id, c.position
    on conflict on constraint push_receipts_pkey do nothing
    returning op_id
  )
  select coalesce(array_agg(c.op_id), '{}') into claimed from claims c;
  if cardinality(claimed) = op_ids then
    return;
  end if;
  places := array(
    select c.position from unnest(accepted) c where c.op_id is null
    union all
    select min(c.position) from unnest(accepted) c where c.op_id = any (claimed) group by c.op_id);
  fresh := array(select c from unnest(accepted) c where c.position = any (places) order by c.position);
  repeated := array(select c from unnest(accepted) c where c.position <> all (places) order by c.position);
end
$$;

comment on function perch.claim_changes(perch.change[], text, timestamptz) is
  'Private. Claims the op_ids of changes, in their order, for the current user. fresh: the changes that are to be carried out; repeated: those whose op_id was claimed before, here or in another transaction.';
