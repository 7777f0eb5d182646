-- Lock order: the rows by their keys, before documents and counters (docs/architecture.md, "The order of locks"); then
-- their stamps.
--
-- All of a run (changes of one kind, of different rows of one table) in one statement each: to lock, to decide, to
-- write, to stamp.
--
-- Written as perch_owner, who is neither the owner of the table nor exempt from its row level security: so the
-- policies of the app bind, with the user in the context, and a table that gave perch_owner no right is not written.
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
  ids text[];
  key_rows jsonb[];
  present record;
  spaces text[];
  plan record;
  decided record;
  targets text[];
  after_rows jsonb[];
  done bigint[];
  gone_rows jsonb[];
  after_spaces text[];
  answers jsonb[];
  settings jsonb;
  statement text;
  wrote boolean := false;
  own_path constant text := current_setting('search_path');
  apps_path constant text := perch.apps_path(array[relation.relation::oid]);
  -- A trigger of another synced table may be pushing.
  outer_client constant text := coalesce(current_setting('perch.push_client_id', true), '');
  outer_op_ids constant text := coalesce(current_setting('perch.push_op_ids', true), '');
begin
  ids := array(select (c).record_id from (select unnest(changes) as c) u);
  key_rows := array(
    select case when cardinality(keys) = 1 then jsonb_build_object(keys[1], i.id)
      else perch.row_key(relation.relation, i.id) end
      from unnest(ids) with ordinality i (id, nth) order by i.nth);
  settings := perch.pin_settings();
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

  -- What is there under the key may be written another way: then its record is another one.
  answers := array(
    select case when w.id <> r.id then perch.row_rejection(changes[r.nth], 'PE422',
      format('the id is not as the table writes it: %s', w.id),
             jsonb_build_object('argument', 'id', 'expected', w.id)) end
      from unnest(ids, present.rows_there) with ordinality r (id, row, nth)
     cross join lateral (
       select case when cardinality(keys) = 1 then r.row ->> keys[1] else perch.row_id(relation.relation, r.row,
         keys) end) w (id)
     order by r.nth);

  select array_agg(d.action order by d.nth) as actions, array_agg(d.writes_now order by d.nth) as writes,
    array_agg(d.stamps order by d.nth) as stamps,
         array_agg(d.at order by d.nth) as times
    into plan
    from perch.decide_rows(changes, writes, present.rows_there, spaces, relation.app_id, apply_rows.client_id,
      apply_rows.now) d;
  for n in 1 .. cardinality(changes) loop
    answers[n] := coalesce(answers[n], case
      when plan.actions[n] = 'missing' then perch.row_rejection(changes[n], 'PE404',
        'there is no such row in this space',
        jsonb_build_object('table', changes[n].table_name, 'id', ids[n]))
      when plan.actions[n] = 'taken' then perch.row_rejection(changes[n], 'PE409', 'the id is in use',
        jsonb_build_object('table', changes[n].table_name, 'id', ids[n]))
      when plan.actions[n] = 'update' and present.locked[n] is not true then perch.row_rejection(changes[n], 'PE403',
        format('the policies of table %s do not let this user write the row', changes[n].table_name),
          jsonb_build_object('table', changes[n].table_name))
      end);
    if answers[n] is not null then
      plan.actions[n] := 'rejected';
    end if;
  end loop;

  perform set_config('perch.push_client_id', coalesce(apply_rows.client_id, ''), true),
          set_config('perch.push_op_ids', coalesce((
            select json_build_object(concat(relation.app_id, ' ', relation.table_name),
                     json_object_agg((c).record_id, (c).op_id))::text
              from (select unnest(changes) as c) u where (c).op_id is not null having count(*) > 0), ''), true);
  for decided in
    select a.action, array_agg(a.nth order by a.nth) as nths, array_agg(plan.writes[a.nth] || key_rows[a.nth]
             || case when relation.space_column is not null and a.action = 'insert' then
                  jsonb_build_object(relation.space_column, changes[a.nth].space_id) else '{}' end order by a.nth)
                    as rows,
           array_agg(present.places[a.nth] order by a.nth) as places, array_agg(present.parts[a.nth] order by a.nth)
             as parts,
           k.columns as written
      from unnest(plan.actions) with ordinality a (action, nth)
     cross join lateral (
       select case when a.action in ('insert', 'update')
         then array(select jsonb_object_keys(plan.writes[a.nth]) order by 1) end) k (columns)
     where a.action in ('insert', 'update', 'delete')
     group by a.action, k.columns
     order by min(a.nth)
  loop
    -- A trigger may have written them since, for what was written first.
    if wrote and decided.action = 'update' then
      select f.places, f.parts into decided.places, decided.parts
        from perch.find_rows(relation, keys, array(
               select key_rows[n.nth] from unnest(decided.nths) with ordinality n (nth, place) order by n.place),
               to_lock => true, is_new => false) f;
    end if;
    wrote := true;
    targets := array(
      select unnest(decided.written) union select unnest(keys) union select relation.space_column
       where relation.space_column is not null);
    statement := case decided.action
      when 'insert' then format(
        'with made as (
           insert into %1$s as x (%2$s)
           select %3$s from (select r.* from pg_catalog.unnest($1) g (row)
             cross join lateral pg_catalog.jsonb_to_record(g.row) as r (%5$s) offset 0) g
            order by %4$s
           returning pg_catalog.to_jsonb(x.*) as row)
         select pg_catalog.array_agg(m.row), null, null from made m',
        relation.relation, (select string_agg(quote_ident(c), ', ') from unnest(targets) c),
        (select string_agg(format('g.%I', c), ', ') from unnest(targets) c),
        (select string_agg(format('g.%I', c), ', ') from unnest(keys) c),
        perch.typed_columns(relation.relation, targets))
      when 'update' then format(
        'with made as (
           update %1$s x set %2$s
             from (select r.*, g.place as perch_place, g.part as perch_part, g.nth as perch_nth
               from unnest($1, $2, $3, $4) g (row, nth, place, part)
              cross join lateral pg_catalog.jsonb_to_record(g.row) as r (%3$s) offset 0) g
            where x.ctid = g.perch_place and x.tableoid = g.perch_part
           returning row(x.*)::%1$s as row, g.perch_nth as nth)
         select pg_catalog.array_agg(pg_catalog.to_jsonb(m.row) order by m.nth), null,
                pg_catalog.array_agg(m.nth order by m.nth)
           from made m',
        relation.relation, (select string_agg(format('%1$I = g.%1$I', c), ', ') from unnest(decided.written) c),
        perch.typed_columns(relation.relation, decided.written))
      else format(
        'with made as (
           delete from %1$s x using (select r.*, g.nth as perch_nth from unnest($1, $2) g (row, nth)
              cross join lateral pg_catalog.jsonb_to_record(g.row) as r (%3$s) offset 0) g
            where %2$s returning row(x.*)::%1$s as row, g.perch_nth as nth)
         select null, pg_catalog.array_agg(pg_catalog.to_jsonb(m.row)), pg_catalog.array_agg(m.nth) from made m',
        relation.relation,
        (select string_agg(format('x.%1$I operator(pg_catalog.=) g.%1$I', c), ' and ') from unnest(keys) c),
        perch.typed_columns(relation.relation, keys)) end;
    perform set_config('search_path', apps_path, true);
    execute statement into after_rows, gone_rows, done
      using decided.rows, decided.nths, decided.places, decided.parts;
    perform set_config('search_path', own_path, true);
    if decided.action = 'insert' then
      done := array(
        select d.nth from unnest(decided.nths) d (nth)
          join unnest(after_rows) m (row)
            on case when cardinality(keys) = 1 then m.row ->> keys[1] else perch.row_id(relation.relation, m.row,
              keys) end = ids[d.nth]);
      if cardinality(done) < coalesce(cardinality(after_rows), 0) then
        perform perch.fail('PE422', format('table %s writes the id another way', changes[1].table_name),
          jsonb_build_object('argument', 'id', 'got', perch.row_id(relation.relation, after_rows[1], keys)),
          'Push it under the id that the table makes of the key: got, in DETAIL.');
      end if;
    -- It was not locked when it was looked at: somebody else may have moved it, or taken it out of sight.
    elsif decided.action = 'delete' and exists (
      select from unnest(perch.space_of_rows(relation, coalesce(gone_rows, '{}')),
        perch.rows_in_sight(relation, coalesce(gone_rows, '{}'))) g (space, sees)
       where g.space is distinct from changes[1].space_id or not g.sees)
    then
      perform perch.fail('PE404', 'there is no such row in this space',
        jsonb_build_object('table', changes[1].table_name));
    end if;
    -- Where a trigger or a column moved it, the user must be allowed to write, too.
    after_spaces := perch.space_of_rows(relation, coalesce(after_rows, '{}'));
    if exists (select from unnest(after_spaces) s where s is null or s <> all (perch.writable_space_ids())) then
      perform perch.fail('PE403', format('the row of %s would be in a space that this user may not write',
        changes[1].table_name),
        jsonb_build_object('table', changes[1].table_name),
        'Push it into a space that this user writes, or leave the columns that say the space as they are.');
    end if;
    -- As with row level security, what may not be seen may not be made: who writes can see what it became.
    if relation.row_filter is not null and false = any (
      perch.rows_in_sight(relation, coalesce(after_rows, '{}')))
    then
      perform perch.fail('PE403', format('the row of %s would be out of this user''s sight', changes[1].table_name),
        jsonb_build_object('table', changes[1].table_name),
        'The row_filter of the table decides: write values with which the row stays in sight.');
    end if;
    for n in 1 .. cardinality(decided.nths) loop
      if (decided.nths[n] = any (done)) is not true then
        answers[decided.nths[n]] := perch.row_rejection(changes[decided.nths[n]], 'PE403',
          format('the policies or triggers of table %s keep the row as it is', changes[1].table_name),
            jsonb_build_object('table', changes[1].table_name));
        plan.actions[decided.nths[n]] := 'rejected';
      end if;
    end loop;
  end loop;
  perform set_config('perch.push_client_id', outer_client, true), set_config('perch.push_op_ids', outer_op_ids, true);

  insert into perch.row_stamps as r (space_id, app_id, table_name, record_id, field_meta, latest_at, inserted_at,
    deleted_at)
  select c.space_id, relation.app_id, relation.table_name, c.record_id,
         case when c.action in ('insert', 'update') then c.stamps else '{}' end, c.time,
         case when op = 'insert' then c.time end, case when op = 'delete' then c.time end
    from (
      -- Side by side, and not by subscripts: each would go through its list from the start.
      select (unnest(changes)).space_id, unnest(ids) as record_id, unnest(plan.actions) as action,
             unnest(plan.stamps) as stamps, unnest(plan.times) as time) c
   where c.action in ('insert', 'update', 'delete', 'bury')
   order by c.space_id collate "C", c.record_id collate "C"
  on conflict on constraint row_stamps_pkey do update
    set field_meta = case when excluded.deleted_at is not null then '{}' else r.field_meta || excluded.field_meta end,
        latest_at = greatest(r.latest_at, excluded.latest_at), inserted_at = greatest(r.inserted_at,
          excluded.inserted_at),
        deleted_at = greatest(r.deleted_at, excluded.deleted_at), updated_at = clock_timestamp();
  perform perch.unpin_settings(settings);
  return array(
    select coalesce(answers[n], jsonb_build_object('op_id', changes[n].op_id, 'status', 'applied', 'space_id',
      changes[n].space_id,
             'seq', null, 'txid', pg_current_xact_id()::text))
      from generate_series(1, cardinality(changes)) n order by n);
end
$$;

comment on function perch.apply_rows(perch.synced_relations, perch.change[], jsonb[], text, timestamptz) is
  'Private. Writes changes of one kind, of different rows of one synced table; returns their results. Errors: what the rules of the app refuse, in which case nothing is written.';
