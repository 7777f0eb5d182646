-- Lock order: the imports of this user, one after another; then the records by key, those of all pushes together
-- (docs/architecture.md, "The order of locks"). The receipts are those of this import alone.
--
-- Users' JSON stays jsonb from the file to the record, so that every number and every name of a field is what it was.
--
-- A line becomes pieces, each a change to push (perch.restored_changes). The order in which they arrive does not matter
-- to the records (perch.merge_changes). Doing it again changes nothing: what is there already is not pushed
-- (perch.present_lines), and every piece has an op_id made of what it is.
create or replace function perch.restore_changes(
  lines jsonb, from_user text, from_epoch text, space_id text default null
)
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
  if perch.catches_undone() then
    begin
      return query select * from perch.restore_changes(lines, from_user, from_epoch, space_id);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  perform perch.take_document_lock(perch.personal_space_id(me), 'perch', 'imports', 'all', purpose => 'write',
    wait => true);
  lines := (
    select coalesce(json_agg(g.line || jsonb_build_object('nth', g.nth, 'target', t.space) order by g.nth)::jsonb, '[]')
      from jsonb_array_elements(lines) with ordinality g (line, nth)
     cross join lateral (
       select coalesce(restore_changes.space_id, case
                when g.line ->> 'space_id' = perch.personal_space_id(from_user) then perch.personal_space_id(me)
                else g.line ->> 'space_id' end)) t (space));
  there := array(select p from perch.present_lines(lines, from_user, home) p);
  return query select t, 'present', null::text from unnest(there) t;
  lines := (
    select coalesce(json_agg(g.line)::jsonb, '[]')
      from jsonb_array_elements(lines) g (line) where (g.line ->> 'nth')::integer <> all (there));

  for batch in
    with placed as (
      select c.* from perch.restored_changes(lines, from_epoch, piece_bytes) c
    ),
    -- Record by record, so that the order of locks is kept over all pushes. What stands together is of one device.
    ordered as (
      select p.*, row_number() over w as place,
             row_number() over w - row_number() over (partition by p.app_id, p.client_id
               order by p.change ->> 'space_id' collate "C", p.change ->> 'table' collate "C",
                 p.change ->> 'id' collate "C", p.nth, p.step) as run
        from placed p
      window w as (order by p.change ->> 'space_id' collate "C", p.app_id collate "C", p.change ->> 'table' collate "C",
        p.change ->> 'id' collate "C", p.client_id, p.nth, p.step)
    ),
    -- Never more than a push may have.
    numbered as (
      select o.*, (row_number() over (partition by o.app_id, o.client_id, o.run order by o.place) - 1) / 500 as share
        from ordered o
    )
    select n.app_id, n.client_id, json_agg(n.change order by n.place)::jsonb as changes,
           array_agg(n.nth order by n.place) as nths
      from numbered n group by n.app_id, n.client_id, n.run, n.share order by min(n.place)
  loop
    return query
      select batch.nths[r.position], r.result ->> 'status', r.result #>> '{error,message}'
        from jsonb_array_elements(perch.push(
               app_id => batch.app_id, changes => batch.changes, client_id => batch.client_id) -> 'results')
               with ordinality r (result, position);
  end loop;
end
$$;
grant execute on function perch.restore_changes to perch_app;

comment on function perch.restore_changes(jsonb, text, text, text) is
  'Used by perch import: writes lines of an export ({"kind": "change" or "record", …}, as the file has them) to the log and to the records, as the current user, and returns what became of each: of a line there may be several rows (nth: its place in lines; status: present, applied, replayed or rejected, then with the message). from_user and from_epoch: the header of the export; the personal space of its user becomes the one of the current user. space_id: everything into this space. Errors: PE401, PE413, PE422. Example: select * from perch.restore_changes(lines => ''[]'', from_user => ''ada'', from_epoch => ''…'');';
