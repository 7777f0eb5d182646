-- A piece has an op_id made of what it is and where it goes, so it is applied once, however often it is restored.
--
-- All lines of a batch at once: to begin a statement for each would take four times what it does. What a line does not
-- say is left out of its changes, since perch.push looks one by one at those that have a null (perch.read_ordinary);
-- it is in the op_id.
create or replace function perch.restored_changes(lines jsonb, from_epoch text, piece_bytes bigint)
returns table (nth integer, app_id text, step integer, client_id text, change jsonb)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with given as materialized (
    select g.line, (g.line ->> 'nth')::integer as nth, g.line ->> 'kind' as kind, g.line ->> 'client_id' as client_id,
           jsonb_build_object('at', g.line -> 'at', 'actor', g.line -> 'actor', 'origin', g.line -> 'origin') as made
      from jsonb_array_elements(lines) g (line)
  ),
  pieces as materialized (
    select p.* from perch.restored_pieces(lines, piece_bytes) p
  ),
  -- Of an entry of the log: what its own device wrote is the entry, the rest are updates.
  entry as (
    select g.nth, 1 as step, g.client_id,
           jsonb_build_object('op', g.line -> 'op') || g.made
             || case when g.line ->> 'op' = 'delete' then '{}'
                     else jsonb_build_object('data', coalesce(p.data, '{}'), 'field_meta', coalesce(p.field_meta, '{}'))
                end as change
      from given g
      left join pieces p on p.nth = g.nth and p.client_id is not distinct from g.client_id and p.part = 1
     where g.kind = 'change'
    union all
    select g.nth, 2, p.client_id,
           jsonb_build_object('op', 'update', 'data', p.data, 'field_meta', p.field_meta) || g.made
      from given g
      join pieces p on p.nth = g.nth and (p.client_id is distinct from g.client_id or p.part > 1)
     where g.kind = 'change'
  ),
  -- Of a record: its insertion, its fields, its deletion.
  record as (
    select g.nth, 1 as step, null::text as client_id,
           jsonb_build_object('op', 'insert', 'at', g.line -> 'inserted_at') as change
      from given g where g.kind = 'record' and g.line ->> 'inserted_at' is not null
    union all
    select g.nth, 2, p.client_id, jsonb_build_object('op', 'update', 'data', p.data, 'field_meta', p.field_meta)
      from given g join pieces p on p.nth = g.nth where g.kind = 'record'
    union all
    select g.nth, 3, null, jsonb_build_object('op', 'delete', 'at', g.line -> 'deleted_at')
      from given g where g.kind = 'record' and g.line ->> 'deleted_at' is not null
  ),
  changes as (
    select e.* from entry e union all select r.* from record r
  )
  select c.nth, g.line ->> 'app_id', c.step, c.client_id,
         p.change - n.nulls || jsonb_build_object('op_id', 'restore-' || left(encode(sha256(convert_to(
           jsonb_build_array(from_epoch, g.line -> 'space_id', g.line -> 'seq', g.line -> 'app_id', c.client_id,
             p.change)::text, 'UTF8')), 'hex'), 40))
    from changes c
    join given g on g.nth = c.nth
   cross join lateral (
     select c.change || jsonb_build_object('table', g.line -> 'table', 'id', g.line -> 'id', 'space_id',
              g.line -> 'target', 'schema_version', g.line -> 'schema_version')) p (change)
   cross join lateral (select array(select k.key from jsonb_each(p.change) k where k.value = 'null')) n (nulls)
$$;

comment on function perch.restored_changes(jsonb, text, bigint) is
  'Private. What is to be pushed of lines of an export, of each in the order of step: changes, each with an op_id of its own, by the device that made them. A line says besides what stands in the file its number (nth) and to which space it goes (target); from_epoch: the log that it was exported from; piece_bytes: as in perch.restored_pieces.';
