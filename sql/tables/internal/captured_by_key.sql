-- What a statement did, by the keys of its rows: those that were there before (the old rows) and those that are behind
-- it (the new ones). A row that was touched twice (a cascade that comes back to it) was something in between: that is
-- among the old rows as well as among the new ones, and is struck from both.
create or replace function perch.captured_by_key(op text, relation oid, arguments text[], space text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $sql$with old_rows as (%1$s),
    new_rows as (%2$s),
    before as (
      select distinct on (o.record_id) o.* from old_rows o
       where not exists (select from new_rows n where n.record_id = o.record_id and n.row = o.row and n.time = o.time)
       order by o.record_id, o.nth
    ),
    behind as (
      select distinct on (n.record_id) n.* from new_rows n
       where not exists (select from old_rows o where o.record_id = n.record_id and o.row = n.row and o.time = n.time)
       order by n.record_id, n.nth desc
    )
    insert into perch.captured_changes
      (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, client_id, op_id,
        captured_at)
    select $1, row_number() over (), pg_current_xact_id(), e.space_id, $2, $3, e.record_id, e.op, e.old_row, e.new_row,
           $4, $5, $6 ->> e.record_id, $7
      from (
        select x.*
          from before b full join behind a on a.record_id = b.record_id
         cross join lateral (
           select a.space_id, a.record_id, 'update' as op, b.row as old_row, a.row as new_row
             where a.space_id = b.space_id
           union all
           select b.space_id, b.record_id, 'delete', b.row, null where (a.space_id = b.space_id) is not true
           union all
           select a.space_id, a.record_id, 'insert', null, a.row where (a.space_id = b.space_id) is not true) x
         where octet_length(x.space_id) between 1 and 256
         order by coalesce(b.nth, a.nth), x.op) e$sql$,
    s.sources[1], s.sources[2])
    from (
      select array_agg(case when t.there then format(
          $sql$select r.nth, r.row, r.record_id, r.space_id, row_number() over (partition by r.record_id, r.row
            order by r.nth) as time
                 from (select row_number() over () as nth, to_jsonb(x.*) as row, %1$s as space_id, perch.row_id(%2$s,
                   to_jsonb(x.*), %3$L) as record_id
                         from %4$s x) r$sql$,
          coalesce(captured_by_key.space, case when arguments[2] = 'constant' then format('%L::text', arguments[3])
            else format(
              'case when to_jsonb(x.*) ? %1$L then to_jsonb(x.*) ->> %1$L '
              'else perch.renamed_space(%2$s, to_jsonb(x.*)) end', arguments[3], relation) end),
          relation, arguments[4:], t.source)
        else 'select null::bigint as nth, null::jsonb as row, null::text as record_id, null::text as space_id, '
          'null::bigint as time where false'
        end order by t.nth)
        from (values (1, 'perch_old', op <> 'INSERT'), (2, 'perch_new', op <> 'DELETE')) t (nth, source,
          there)) s (sources)
$$;

comment on function perch.captured_by_key(text, oid, text[], text) is
  'Private. The statement with which a trigger of a synced table captures what its statement did, by keys. op: TG_OP; arguments: those of the trigger; space: an expression over x, a row of the transition tables (null: as the arguments say). Its parameters: ordinal, app, table, author, client, op_ids, time.';
