-- What entries may come to is added up first, from the sizes that are written beside them, so that the text of few is
-- made in vain; then the text itself is measured. An entry that is too long by itself is given without its content, and
-- says so: left out in silence it would be lost, and given whole it would stop every reader here.
--
-- Of tables with rules the rows before and after each entry are looked at, which may be far longer than what it says:
-- a page ends where they would be more than four times as long as a page may be.
--
-- What one transaction wrote in a space stands together in its log (perch.run_end), so a page that ends behind the last
-- entry of a transaction has all of it. It goes on to there from where max_count would end it; where it would become
-- too long, it ends before a transaction that is not its first.
create or replace function perch.read_page(
  places perch.log_place[], app_id text, tables text[], exclude_client_id text, behind text[], versions jsonb,
  fields jsonb, ruled text[], max_count integer, max_run integer, page_bytes bigint,
  out page text, out given bigint, out fetched bigint, out last bigint[], out too_large bigint, out failed bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes constant bigint := perch.setting('max_page_bytes', 16777216);
  -- What a page may be for the sake of its first transaction: more does not fit into one jsonb, as which perch.pull
  -- gives it.
  run_bytes constant bigint := least(max_bytes, 67108864);
begin
  with begun as materialized (
    select p.nth, l.*
      from unnest(places) with ordinality p (space_id, start, mark, head, head_mark, stop, role, nth)
     cross join lateral perch.log_part(p.space_id, p.start, p.stop, read_page.app_id, read_page.tables,
             read_page.exclude_client_id, p.space_id = any (behind), max_count) l
     where p.start < p.stop
     order by p.nth, l.seq
     limit max_count
  ),
  -- The rest of the transaction in which the page would end, unless it ends with the log.
  rest as (
    select c.nth, l.*
      from (
        select b.nth, b.space_id, b.seq,
               perch.run_end(b.space_id, b.seq, least(places[b.nth].head, b.seq + max_run)) as stop
          from (select a.nth, a.space_id, a.seq, a.txid from begun a order by a.nth desc, a.seq desc limit 1) b
         where b.txid is not null
           and ((select count(*) from begun) = max_count or places[b.nth].stop < places[b.nth].head)
        offset 0) c
     cross join lateral perch.log_part(c.space_id, c.seq, c.stop, read_page.app_id, read_page.tables,
             read_page.exclude_client_id, c.space_id = any (behind), max_run) l
     where c.seq < c.stop
  ),
  listed as materialized (select b.* from begun b union all select r.* from rest r),
  asked as materialized (
    select r.space_ids[:c.count] as space_ids, r.seqs[:c.count] as seqs,
           array[r.nths[c.count + 1], r.seqs[c.count + 1]] as beyond
      from (select array_agg(l.nth order by l.nth, l.seq), array_agg(l.space_id order by l.nth, l.seq),
                   array_agg(l.seq order by l.nth, l.seq)
              from listed l where l.table_name = any (ruled)) r (nths, space_ids, seqs)
     cross join lateral (select perch.images_within(r.space_ids, r.seqs, max_bytes * 4) offset 0) c (count)
     where r.seqs is not null
  ),
  seen as materialized (
    select s.* from asked a cross join lateral perch.changes_in_sight(read_page.app_id, a.space_ids, a.seqs) s
  ),
  -- What is out of sight goes on as an entry without text: a page that has nothing else moves on, too. Fields that are
  -- not wanted are left out before anything is measured, but of what is to be lifted first: their names are those of
  -- the version that is asked for.
  told as (
    select l.nth, l.space_id, l.seq, case when x.is_ruled then s.op else l.op end as op, l.table_name, l.record_id,
           c.data, l.field_meta, l.at, l.deleted_at, l.user_id,
           l.client_id, l.op_id, l.txid, l.schema_version, l.actor, l.origin, l.created_at,
           case when n.names is null or l.changed_fields is null then l.changed_fields
                else array(select f from unnest(l.changed_fields) f where n.names ? f) end as changed_fields,
           case when n.names is not null then octet_length(c.data::text) when x.is_ruled then s.size
                else l.size end as size, x.is_ruled and s.seq is null as is_out_of_sight
      from listed l
     cross join lateral (select l.table_name = any (ruled)) x (is_ruled)
      left join seen s on x.is_ruled and s.space_id = l.space_id and s.seq = l.seq
     cross join lateral (
       select case when (l.changed_fields is null and l.schema_version < (versions ->> l.table_name)::integer)
                          is not true then read_page.fields -> l.table_name end) n (names)
     cross join lateral (
       select perch.chosen_fields(case when x.is_ruled then s.data else l.data end, n.names) offset 0) c (data)
  ),
  found as materialized (
    select f.*, d.document, d.long_document, d.long_fields, coalesce(f.size, d.size, 0) as bytes,
           -- Of a document only what changed is given, which is measured below unless the whole is far beyond.
           coalesce(f.size > max_bytes, d.size > max_bytes * 4, false) as is_huge
      from told f
      -- The long values are not even looked at where none of them changed.
      left join lateral (
        select r.data as document, l.moved as long_document, r.long_fields,
               case when l.moved is null then least(r.size, 3 * pg_column_size(r.data)) else r.size end as size
          from perch.stored_records r
         cross join lateral (select case when r.long_fields && f.changed_fields then r.long_data end) l (moved)
         where f.changed_fields is not null
           and r.space_id = f.space_id and r.app_id = read_page.app_id and r.table_name = f.table_name
           and r.record_id = f.record_id
         limit 1
      ) d on true
  ),
  likely as (
    select f.*, sum(case when not f.is_huge then f.bytes end) over w as upto, row_number() over w as n,
           coalesce((first_value(f.nth) over w, first_value(f.txid) over w) = (f.nth, f.txid), false) as is_of_first,
           f.txid is null or (lead(f.nth) over w, lead(f.txid) over w) is distinct from (f.nth, f.txid) as is_end
      from found f
    window w as (order by f.nth, f.seq)
  ),
  entries as materialized (
    select w.nth, w.seq, w.n, w.is_of_first, w.is_end, w.reason, w.entry,
           coalesce(sum(octet_length(w.entry) + 2) over (order by w.nth, w.seq), 0) as upto
      from (
        select k.nth, k.seq, k.n, k.is_of_first, k.is_end, y.reason,
               case when y.reason is null then t.entry
                    else perch.withheld(t.entry, y.reason, greatest(k.bytes, octet_length(t.entry)), max_bytes)
               end as entry
          from likely k
         cross join lateral (select (versions ->> k.table_name)::integer) wanted (version)
          -- Each of these is a step of its own (offset 0): taken into its uses, it would be worked out for each.
         cross join lateral (
            select case when k.op <> 'delete' and k.changed_fields is null and not k.is_huge
                             and k.schema_version < wanted.version then
              perch.try_upgrade(jsonb_build_object('op', k.op, 'table', k.table_name, 'id', k.record_id,
                  'data', k.data, 'field_meta', coalesce(k.field_meta, '{}'), 'at', perch.time_text(k.at)),
                read_page.app_id, k.table_name, k.schema_version, wanted.version) end
            offset 0
          ) v (lifted)
         cross join lateral (select coalesce(v.lifted ? 'failed', false)) f (failed)
         cross join lateral (select f.failed or k.is_huge) x (bare)
         cross join lateral (
            select case when not k.is_out_of_sight then row_to_json(e)::text end
              from (
                select k.space_id, k.seq, k.op, k.table_name as "table", k.record_id as id,
                       case when x.bare then null
                            when v.lifted is not null
                            then perch.chosen_fields(v.lifted -> 'data', read_page.fields -> k.table_name)
                            when k.changed_fields is null then k.data
                            else (
                              select coalesce(
                                       json_object_agg(n, coalesce(k.document -> n, k.long_document -> n))::jsonb, '{}')
                                from unnest(k.changed_fields) n
                               where k.document ? n or n = any (k.long_fields)) end as data,
                       case when x.bare then '{}'
                            else perch.chosen_fields(coalesce(v.lifted -> 'field_meta', k.field_meta, '{}'),
                              read_page.fields -> k.table_name) end as field_meta,
                       perch.time_text(k.at) as at, perch.time_text(k.deleted_at) as deleted_at, k.user_id,
                       k.client_id, k.op_id, k.txid,
                       case when v.lifted is not null and not f.failed then wanted.version
                            else k.schema_version end as schema_version,
                       case when not x.bare then k.actor end as actor, k.origin,
                       perch.time_text(k.created_at) as created_at) e
            offset 0
          ) t (entry)
         cross join lateral (
            select case when f.failed then 'upgrade_failed'
                        when k.is_huge or octet_length(t.entry) > max_bytes then 'too_large' end) y (reason)
         where (coalesce(k.upto, 0) <= case when k.is_of_first then run_bytes else page_bytes end or k.n = 1)
           and (array[k.nth, k.seq] < (select a.beyond from asked a where a.beyond[1] is not null)) is not false) w
  ),
  kept as (
    select e.* from entries e
     where e.n <= (
       select coalesce(max(x.n) filter (where x.is_end and x.upto <= page_bytes),
                       max(x.n) filter (where x.is_of_first and x.upto <= run_bytes), 1) from entries x)
  )
  select concat('[', string_agg(k.entry, ', ' order by k.nth, k.seq), ']'), count(*), (select count(*) from found),
         max(array[k.nth, k.seq]), count(*) filter (where k.reason = 'too_large'),
         count(*) filter (where k.reason = 'upgrade_failed')
    into page, given, fetched, last, too_large, failed
    from kept k;
end
$$;

comment on function perch.read_page(perch.log_place[], text, text[], text, text[], jsonb, jsonb, text[], integer, integer, bigint) is
  'Private. Entries of the logs of places, from the start of each up to its stop, as JSON text of a list: some max_count, and up to max_run more for the sake of a transaction, but no more than page_bytes but for the sake of the first. given: how many; fetched: out of how many; last: the place of the space of the last, and its seq; too_large, failed: how many came without their content (perch.withheld). ruled: of these tables (perch.ruled_tables) not everything is for this reader. Errors: 54000 where the page does not fit into one value.';
