-- A piece has an op_id made of what it is and where it goes, so it is applied once, however often it is restored.
create or replace function perch.restored_changes(line jsonb, from_epoch text, piece_bytes bigint)
returns table (step integer, client_id text, change jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with pieces as materialized (
    select p.* from perch.restored_pieces(line, piece_bytes) p
  ),
  said (made) as (
    select jsonb_build_object('at', line -> 'at', 'actor', line -> 'actor', 'origin', line -> 'origin')
  ),
  -- Of an entry of the log: what its own device wrote is the entry, the rest are updates.
  entry as (
    select 1 as step, line ->> 'client_id' as client_id,
           jsonb_build_object('op', line -> 'op') || s.made
             || case when line ->> 'op' = 'delete' then '{}'
                     else jsonb_build_object('data', coalesce(p.data, '{}'), 'field_meta', coalesce(p.field_meta, '{}'))
                end as change
      from said s left join pieces p on p.client_id is not distinct from line ->> 'client_id' and p.part = 1
    union all
    select 2, p.client_id,
           jsonb_build_object('op', 'update', 'data', p.data, 'field_meta', p.field_meta) || s.made
      from said s join pieces p on p.client_id is distinct from line ->> 'client_id' or p.part > 1
  ),
  -- Of a record: its insertion, its fields, its deletion.
  record as (
    select 1 as step, null::text as client_id, jsonb_build_object('op', 'insert', 'at', line -> 'inserted_at') as change
     where line ->> 'inserted_at' is not null
    union all
    select 2, p.client_id, jsonb_build_object('op', 'update', 'data', p.data, 'field_meta', p.field_meta) from pieces p
    union all
    select 3, null, jsonb_build_object('op', 'delete', 'at', line -> 'deleted_at')
     where line ->> 'deleted_at' is not null
  ),
  changes as (
    select e.* from entry e where line ->> 'kind' = 'change'
    union all
    select r.* from record r where line ->> 'kind' = 'record'
  )
  select c.step, c.client_id,
         p.change || jsonb_build_object('op_id', 'restore-' || left(encode(sha256(convert_to(
           jsonb_build_array(from_epoch, line -> 'space_id', line -> 'seq', line -> 'app_id', c.client_id,
             p.change)::text, 'UTF8')), 'hex'), 40))
    from changes c
   cross join lateral (
     select c.change || jsonb_build_object('table', line -> 'table', 'id', line -> 'id', 'space_id', line -> 'target',
              'schema_version', line -> 'schema_version')) p (change)
$$;

comment on function perch.restored_changes(jsonb, text, bigint) is
  'Private. What is to be pushed of a line of an export, in the order of step: changes, each with an op_id of its own, by the device that made them. The line says besides what stands in the file to which space it goes (target); from_epoch: the log that it was exported from; piece_bytes: as in perch.restored_pieces.';
