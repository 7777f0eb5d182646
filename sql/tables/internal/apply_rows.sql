-- Lock order: the rows by their keys, before documents and counters (docs/architecture.md, "The order of locks"); then
-- their stamps.
--
-- All of a run (changes of one kind, in one space, of different rows of one table) in one statement each: to lock, to
-- decide, to write, to stamp.
create or replace function perch.apply_rows(
  relation perch.synced_relations, changes perch.change[], writes jsonb[], client_id text, now timestamptz
)
returns jsonb[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  op constant text := changes[1].op;
  keys constant text[] := perch.key_columns(relation.relation);
  half constant integer := cardinality(changes) / 2;
  ids constant text[] := array(select c.record_id from unnest(changes) c);
  settings constant jsonb := perch.pin_settings();
  key_rows jsonb[];
  present record;
  spaces text[];
  plan record;
  step record;
  written integer[];
  answers jsonb[];
  wrote boolean := false;
  -- A trigger of another synced table may be pushing.
  outer_client constant text := coalesce(current_setting('perch.push_client_id', true), '');
  outer_op_ids constant text := coalesce(current_setting('perch.push_op_ids', true), '');
begin
  -- What is there, and where: a row out of sight is in no space.
  key_rows := array(
    select case when cardinality(keys) = 1 then jsonb_build_object(keys[1], i.id)
      else perch.row_key(relation.relation, i.id) end
      from unnest(ids) with ordinality i (id, nth) order by i.nth);
  select * into present from perch.find_rows(relation, keys, key_rows, to_lock => op <> 'delete',
    is_new => op = 'insert');
  -- Too long to be held at once. All are locked, in the order of their keys; the rest is that of two runs.
  if cardinality(present.rows_there) < cardinality(changes) then
    perform perch.unpin_settings(settings);
    return perch.apply_rows(relation, changes[:half], writes[:half], apply_rows.client_id, apply_rows.now)
      || perch.apply_rows(relation, changes[half + 1:], writes[half + 1:], apply_rows.client_id, apply_rows.now);
  end if;
  spaces := perch.space_of_rows(relation, present.rows_there);
  if relation.row_filter is not null then
    spaces := array(
      select case when s.sees then s.space end
        from unnest(spaces, perch.rows_in_sight(relation, present.rows_there))
             with ordinality s (space, sees, nth) order by s.nth);
  end if;

  -- What becomes of each change.
  select array_agg(d.action order by d.nth) as actions, array_agg(d.writes_now order by d.nth) as writes,
         array_agg(d.stamps order by d.nth) as stamps, array_agg(d.at order by d.nth) as times
    into plan
    from perch.decide_rows(changes, writes, present.rows_there, spaces, relation.app_id, apply_rows.client_id,
      apply_rows.now) d;
  answers := array(
    select case
      -- What is there under the key may be written another way: then its record is another one.
      when w.id <> r.id then perch.row_rejection(changes[r.nth], 'PE422',
        format('the id is not as the table writes it: %s', w.id),
        jsonb_build_object('argument', 'id', 'expected', w.id))
      when r.action = 'missing' then perch.row_rejection(changes[r.nth], 'PE404',
        'there is no such row in this space', jsonb_build_object('table', relation.table_name, 'id', r.id))
      when r.action = 'taken' then perch.row_rejection(changes[r.nth], 'PE409', 'the id is in use',
        jsonb_build_object('table', relation.table_name, 'id', r.id))
      when r.action = 'update' and r.locked is not true then perch.row_rejection(changes[r.nth], 'PE403',
        format('the policies of table %s do not let this user write the row', relation.table_name),
        jsonb_build_object('table', relation.table_name)) end
      from unnest(ids, present.rows_there, plan.actions, present.locked)
           with ordinality r (id, row, action, locked, nth)
     cross join lateral (
       select case when cardinality(keys) = 1 then r.row ->> keys[1]
         else perch.row_id(relation.relation, r.row, keys) end) w (id)
     order by r.nth);

  -- It is done: what inserts, writes the same columns, or deletes, at once.
  perform set_config('perch.push_client_id', coalesce(apply_rows.client_id, ''), true),
          set_config('perch.push_op_ids', coalesce((
            select json_build_object(concat(relation.app_id, ' ', relation.table_name),
                     json_object_agg(c.record_id, c.op_id))::text
              from unnest(changes) c where c.op_id is not null having count(*) > 0), ''), true);
  for step in
    select a.action, k.columns, array_agg(a.nth order by a.nth) as nths, array_agg(a.id order by a.nth) as ids,
           array_agg(a.writes || a.key_row || i.space order by a.nth) as rows,
           array_agg(a.place order by a.nth) as places, array_agg(a.part order by a.nth) as parts
      from unnest(ids, plan.actions, answers, plan.writes, key_rows, present.places, present.parts)
           with ordinality a (id, action, answer, writes, key_row, place, part, nth)
     cross join lateral (
       select case when a.action = 'insert' and relation.space_column is not null
         then jsonb_build_object(relation.space_column, changes[1].space_id) else '{}' end) i (space)
     cross join lateral (
       select case when a.action in ('insert', 'update')
         then array(select jsonb_object_keys(a.writes) order by 1) end) k (columns)
     where a.action in ('insert', 'update', 'delete') and a.answer is null
     group by a.action, k.columns
     order by min(a.nth)
  loop
    -- A trigger may have written them since, for what was written first.
    if wrote and step.action = 'update' then
      select f.places, f.parts into step.places, step.parts
        from perch.find_rows(relation, keys, array(
               select key_rows[n.nth] from unnest(step.nths) with ordinality n (nth, place) order by n.place),
               to_lock => true, is_new => false) f;
    end if;
    wrote := true;
    written := perch.write_rows(relation, keys, changes[1].space_id, step.action, step.columns, step.ids, step.rows,
      step.places, step.parts);
    if cardinality(written) < cardinality(step.nths) then
      for n in 1 .. cardinality(step.nths) loop
        if n <> all (written) then
          answers[step.nths[n]] := perch.row_rejection(changes[step.nths[n]], 'PE403',
            format('the policies or triggers of table %s keep the row as it is', relation.table_name),
            jsonb_build_object('table', relation.table_name));
        end if;
      end loop;
    end if;
  end loop;
  perform set_config('perch.push_client_id', outer_client, true), set_config('perch.push_op_ids', outer_op_ids, true);

  -- When, and by whom.
  insert into perch.row_stamps as r (space_id, app_id, table_name, record_id, field_meta, latest_at, inserted_at,
    deleted_at)
  select changes[1].space_id, relation.app_id, relation.table_name, c.record_id,
         case when c.action in ('insert', 'update') then c.stamps else '{}' end, c.time,
         case when op = 'insert' then c.time end, case when op = 'delete' then c.time end
    from unnest(ids, plan.actions, answers, plan.stamps, plan.times) c (record_id, action, answer, stamps, time)
   where c.action in ('insert', 'update', 'delete', 'bury') and c.answer is null
   order by c.record_id collate "C"
  on conflict on constraint row_stamps_pkey do update
    set field_meta = case when excluded.deleted_at is not null then '{}' else r.field_meta || excluded.field_meta end,
        latest_at = greatest(r.latest_at, excluded.latest_at),
        inserted_at = greatest(r.inserted_at, excluded.inserted_at),
        deleted_at = greatest(r.deleted_at, excluded.deleted_at), updated_at = clock_timestamp();
  perform perch.unpin_settings(settings);
  return array(
    select coalesce(a.answer, perch.applied(c.op_id, c.space_id, null))
      from unnest(changes) with ordinality c
      join unnest(answers) with ordinality a (answer, nth) on a.nth = c.ordinality
     order by c.ordinality);
end
$$;

comment on function perch.apply_rows(perch.synced_relations, perch.change[], jsonb[], text, timestamptz) is
  'Private. Writes changes of one kind, of different rows of one synced table; returns their results. Errors: what the rules of the app refuse, in which case nothing is written.';
