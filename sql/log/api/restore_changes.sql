-- Lock order: the counters of all spaces, by id, and then the receipts of this import alone (docs/architecture.md, "The
-- order of locks").
--
-- Users' JSON stays jsonb from the file to the record, so that every number and every name of a field is what it was.
--
-- A line becomes pieces, each a change to push: the fields of a line by the device that wrote them, since the device
-- decides between writes of the same instant and is an argument of a whole push; and no piece is longer than a change
-- may be. The order in which they arrive does not matter to the records (perch.merge_changes).
--
-- Why doing it again changes nothing. A piece has an op_id made of what it is and where it goes. Besides, what is there
-- already is not pushed at all: an entry that this log has under the same number; and, where the log no longer tells
-- (the line is a record, or its number was pruned here), what the record already shows, or would show if it had not
-- been overwritten or deleted later.
create or replace function perch.restore_changes(lines jsonb, from_user text, from_epoch text,
  space_id text default null)
returns table (nth integer, status text, message text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  home constant boolean := (select e.epoch::text = from_epoch from perch.log_epoch e);
  piece_bytes constant bigint := perch.setting('max_change_bytes', 1048576) / 4;
  there integer[];
  batch record;
begin
  lines := (
    select coalesce(json_agg(g.line || jsonb_build_object('target', coalesce(restore_changes.space_id,
             case when g.line ->> 'space_id' = perch.personal_space_id(from_user) then perch.personal_space_id(me)
               else g.line ->> 'space_id' end))
               order by g.nth)::jsonb, '[]')
      from jsonb_array_elements(lines) with ordinality g (line, nth));

  with given as materialized (
    select g.nth::integer as nth, g.line, g.line ->> 'kind' as kind, g.line ->> 'target' as space,
           g.line ->> 'app_id' as app, g.line ->> 'table' as tab, g.line ->> 'id' as id,
           case g.line ->> 'kind' when 'record' then g.line ->> 'inserted_at' else case
             when g.line ->> 'op' = 'insert' then g.line ->> 'at' end end::timestamptz as inserted_at,
           case g.line ->> 'kind' when 'record' then g.line ->> 'deleted_at' else case
             when g.line ->> 'op' = 'delete' then g.line ->> 'at' end end::timestamptz as deleted_at
      from jsonb_array_elements(lines) with ordinality g (line, nth)
  ),
  logged as (
    select g.nth from given g
      join perch.sync_changes c on c.space_id = g.space and c.seq = (g.line ->> 'seq')::bigint
     where home and g.kind = 'change' and g.space = g.line ->> 'space_id' and c.user_id = from_user
       and c.app_id = g.app and c.table_name = g.tab and c.record_id = g.id and c.at = (g.line ->> 'at')::timestamptz
  ),
  shown as (
    select g.nth from given g
      join perch.stored_records r on r.space_id = g.space and r.app_id = g.app and r.table_name = g.tab
        and r.record_id = g.id
      left join perch.space_heads h on h.space_id = g.space
     where (g.kind = 'record' or home and g.space = g.line ->> 'space_id' and (g.line ->> 'seq')::bigint < h.oldest_seq)
       and coalesce(r.inserted_at >= g.inserted_at, g.inserted_at is null)
       and coalesce(r.deleted_at >= g.deleted_at, g.deleted_at is null)
       and not exists (
             select from perch.restored_fields(g.line) f
              cross join lateral (select perch.stamp(f.moment, f.client_id) collate "C",
                coalesce(r.field_meta ->> f.name, perch.stamp(r.written_at, r.written_by))) s (sent, stored)
              where (r.deleted_at >= f.moment or r.data ? f.name
                and (s.stored > s.sent or s.stored = s.sent and r.data -> f.name = f.value)) is not true)
  )
  select array(select l.nth from logged l union select s.nth from shown s) into there;
  return query select t, 'present', null::text from unnest(there) t;

  -- The pushes below take counters one after another: so all are taken here, in their order. (Those of spaces that may
  -- not be written are not touched; push says so.)
  perform perch.lock_heads(array(
    select distinct g.line ->> 'target' from jsonb_array_elements(lines) with ordinality g (line, nth)
     where g.nth <> all (there) and g.line ->> 'target' = any (perch.writable_space_ids())));

  for batch in
    with given as (
      select g.nth::integer as nth, g.line, g.line ->> 'kind' as kind
        from jsonb_array_elements(lines) with ordinality g (line, nth)
       where g.nth <> all (there)
    ),
    fields as (
      select g.nth, f.client_id, f.name, f.value, f.stamped, f.moment,
             case when f.bytes > piece_bytes then f.name end as alone,
             sum(case when f.bytes > piece_bytes then 0 else f.bytes end) over (partition by g.nth, f.client_id
               order by f.name) / piece_bytes as share
        from given g cross join lateral perch.restored_fields(g.line) f
    ),
    pieces as (
      select f.nth, f.client_id, json_object_agg(f.name, f.value)::jsonb as data,
             coalesce(jsonb_object_agg(f.name, perch.time_text(f.moment)) filter (where f.stamped), '{}') as field_meta,
             row_number() over (partition by f.nth, f.client_id order by f.alone nulls first, trunc(f.share)) as part
        from fields f group by f.nth, f.client_id, f.alone, trunc(f.share)
    ),
    changes as (
      -- Of an entry of the log: what its own device wrote is the entry, the rest are updates.
      select g.nth, 1 as step, g.line ->> 'client_id' as client_id,
             jsonb_build_object('op', g.line -> 'op', 'at', g.line -> 'at', 'actor', g.line -> 'actor', 'origin',
               g.line -> 'origin')
               || case when g.line ->> 'op' = 'delete' then '{}'
                 else jsonb_build_object('data', coalesce(p.data, '{}'), 'field_meta',
                 coalesce(p.field_meta, '{}')) end as change
        from given g left join pieces p on p.nth = g.nth and p.client_id is not distinct
          from g.line ->> 'client_id' and p.part = 1
       where g.kind = 'change'
      union all
      select g.nth, 2, p.client_id,
             jsonb_build_object('op', 'update', 'at', g.line -> 'at', 'actor', g.line -> 'actor', 'origin',
               g.line -> 'origin', 'data', p.data, 'field_meta', p.field_meta)
        from given g join pieces p on p.nth = g.nth
          and (p.client_id is distinct from g.line ->> 'client_id' or p.part > 1)
       where g.kind = 'change'
      union all
      -- Of a record: its insertion, its fields, its deletion.
      select g.nth, 1, null, jsonb_build_object('op', 'insert', 'at', g.line -> 'inserted_at')
        from given g where g.kind = 'record' and g.line ->> 'inserted_at' is not null
      union all
      select g.nth, 2, p.client_id, jsonb_build_object('op', 'update', 'data', p.data, 'field_meta', p.field_meta)
        from given g join pieces p on p.nth = g.nth where g.kind = 'record'
      union all
      select g.nth, 3, null, jsonb_build_object('op', 'delete', 'at', g.line -> 'deleted_at')
        from given g where g.kind = 'record' and g.line ->> 'deleted_at' is not null
    ),
    placed as (
      select c.nth, c.step, g.line ->> 'app_id' as app_id, c.client_id,
             p.change || jsonb_build_object('op_id', 'restore-' || left(encode(sha256(convert_to(
               jsonb_build_array(from_epoch, g.line -> 'space_id', g.line -> 'seq', g.line -> 'app_id', c.client_id,
                 p.change)::text, 'UTF8')), 'hex'), 40)) as change
        from changes c join given g on g.nth = c.nth
       cross join lateral (select c.change || jsonb_build_object('table', g.line -> 'table', 'id', g.line -> 'id',
         'space_id', g.line -> 'target', 'schema_version', g.line -> 'schema_version')) p (change)
    ),
    -- Never more than a push may have.
    numbered as (
      select p.*, (row_number() over (partition by p.app_id, p.client_id order by p.nth, p.step) - 1) / 500 as share
        from placed p
    )
    select n.app_id, n.client_id, json_agg(n.change order by n.nth, n.step)::jsonb as changes,
           array_agg(n.nth order by n.nth, n.step) as nths
      from numbered n group by n.app_id, n.client_id, n.share order by min(n.nth)
  loop
    return query
      select batch.nths[r.position], r.result ->> 'status', r.result #>> '{error,message}'
        from jsonb_array_elements(perch.push(app_id => batch.app_id, changes => batch.changes,
          client_id => batch.client_id) -> 'results')
               with ordinality r (result, position);
  end loop;
end
$$;

comment on function perch.restore_changes(jsonb, text, text, text) is
  'Used by perch import: writes lines of an export ({"kind": "change" or "record", …}, as the file has them) to the log and to the records, as the current user, and returns what became of each: of a line there may be several rows (nth: its place in lines; status: present, applied, replayed or rejected, then with the message). from_user and from_epoch: the header of the export; the personal space of its user becomes the one of the current user. space_id: everything into this space. Errors: PE401, PE413, PE422. Example: select * from perch.restore_changes(lines => ''[]'', from_user => ''ada'', from_epoch => ''…'');';
