-- What a statement did, by the keys of its rows: those that were there before (the old rows) and those that are behind
-- it (the new ones). A row that was touched twice (a cascade that comes back to it) was something in between: that is
-- among the old rows as well as among the new ones, and is struck from both. A key that is checked late may have
-- several rows (twin). A row that goes to another space is deleted in the one before it is inserted in the other.
create or replace function perch.captured_by_key(op text, relation oid, arguments text[], space text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format(
    $sql$with old_rows as (%1$s),
    new_rows as (%2$s),
    before as (
      select o.*, row_number() over (partition by o.space_id, o.record_id order by o.nth) as twin from old_rows o
       where octet_length(o.space_id) between 1 and 256 and o.record_id is not null
         and not exists (select from new_rows n where n.record_id = o.record_id and n.row = o.row and n.time = o.time)
    ),
    behind as (
      select n.*, row_number() over (partition by n.space_id, n.record_id order by n.nth) as twin from new_rows n
       where octet_length(n.space_id) between 1 and 256 and n.record_id is not null
         and not exists (select from old_rows o where o.record_id = n.record_id and o.row = n.row and o.time = n.time)
    )
    insert into perch.captured_changes
      (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, client_id, op_id,
        captured_at)
    select $1, row_number() over (order by e.is_first desc, e.nth), pg_current_xact_id(), e.space_id, $2, $3,
           e.record_id, e.op, e.old_row, e.new_row, $4, $5, $6 ->> e.record_id, $7
      from (
        select space_id, record_id, a.record_id is null as is_first, coalesce(b.nth, a.nth) as nth, b.row as old_row,
               a.row as new_row,
               case when a.record_id is null then 'delete' when b.record_id is null then 'insert'
                    else 'update' end as op
          from before b full join behind a using (space_id, record_id, twin)) e$sql$,
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
