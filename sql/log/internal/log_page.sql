-- What an entry holds, how long a page is, and when content is withheld: as in perch.pull_page. The caller has made
-- the reader the current user.
create or replace function perch.log_page(
  runs perch.commit_order[], app_ids text[], tables text[], wanted jsonb, max_count integer, max_bytes bigint,
  out changes jsonb, out cut_run integer, out cut_seq bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  most constant integer := max_count + 10000;
  ruled constant text[] := perch.logs_with_rules();
  made record;
  cut bigint[];
begin
  with listed as materialized (
    select r.nth, r.txid as unit, l.*, concat(l.app_id, ' ', l.table_name) = any (ruled) as is_ruled
      from unnest(runs) with ordinality r (ordinal, txid, space_id, first_seq, last_seq, at, position, nth)
     cross join lateral (
       select x.* from perch.sync_changes x
        where x.space_id = r.space_id and x.seq between r.first_seq and r.last_seq
          and x.app_id = any (log_page.app_ids) and (log_page.tables is null or x.table_name = any (log_page.tables))
        order by x.seq limit most) l
     order by r.nth, l.seq limit most
  ),
  asked as materialized (
    select array[r.nths[c.count + 1], r.seqs[c.count + 1]] as beyond
      from (select array_agg(l.nth order by l.nth, l.seq), array_agg(l.space_id order by l.nth, l.seq),
                   array_agg(l.seq order by l.nth, l.seq)
              from listed l where l.is_ruled) r (nths, space_ids, seqs)
     cross join lateral (select perch.images_within(r.space_ids, r.seqs, max_bytes * 4) offset 0) c (count)
     where r.seqs[c.count + 1] is not null
  ),
  seen as materialized (
    select g.app_id, s.*
      from (select l.app_id, array_agg(l.space_id order by l.nth, l.seq) as space_ids,
                   array_agg(l.seq order by l.nth, l.seq) as seqs
              from listed l
             where l.is_ruled and (array[l.nth, l.seq] < (select a.beyond from asked a)) is not false
             group by l.app_id) g
     cross join lateral perch.changes_in_sight(g.app_id, g.space_ids, g.seqs) s
  ),
  sized as materialized (
    select l.*, k.is_asked, s.op as seen_op, s.data as seen_data, r.data as document, r.long_data, r.long_fields,
           n.names,
           case when n.names is null then coalesce(case when l.is_ruled then s.size else l.size end, r.size, 0)
                else 0 end as bytes
      from listed l
     cross join lateral (select wanted -> l.table_name) n (names)
     cross join lateral (
       select (array[l.nth, l.seq] < (select a.beyond from asked a)) is not false) k (is_asked)
      left join seen s on l.is_ruled and s.app_id = l.app_id and s.space_id = l.space_id and s.seq = l.seq
      left join lateral (
        select x.data, x.long_data, x.long_fields, x.size from perch.stored_records x
         where l.changed_fields is not null and x.space_id = l.space_id and x.app_id = l.app_id
           and x.table_name = l.table_name and x.record_id = l.record_id limit 1) r on true
     where not l.is_ruled or s.seq is not null or not k.is_asked
  ),
  likely as (
    select s.*, row_number() over w as n, s.bytes > max_bytes as is_huge,
           sum(case when s.bytes > max_bytes then 0 else s.bytes end) over w as upto,
           lead(s.unit) over w is distinct from s.unit as is_end, s.unit = first_value(s.unit) over w as is_of_first
      from sized s
    window w as (order by s.nth, s.seq)
  ),
  shown as (
    select k.nth, k.seq, k.n, k.is_end, k.is_of_first, k.is_huge, k.bytes, t.entry
      from likely k
     cross join lateral (
       select case when k.is_huge then null
                   when k.is_ruled then k.seen_data
                   when k.changed_fields is null then k.data
                   else (select coalesce(json_object_agg(f, coalesce(k.document -> f, k.long_data -> f))::jsonb, '{}')
                           from unnest(k.changed_fields) f
                          where (k.document ? f or f = any (k.long_fields)) and (k.names ? f) is not false) end
       offset 0) g (data)
     cross join lateral (
       select row_to_json(e)::text
         from (
           select k.space_id, k.seq, coalesce(k.seen_op, k.op) as op, k.app_id, k.table_name as "table",
                  k.record_id as id, perch.chosen_fields(g.data, k.names) as data,
                  perch.chosen_fields(case when k.is_huge then '{}' else coalesce(k.field_meta, '{}') end, k.names)
                    as field_meta,
                  perch.time_text(k.at) as at, perch.time_text(k.deleted_at) as deleted_at, k.user_id, k.client_id,
                  k.op_id, k.txid, k.schema_version, k.actor, k.origin, perch.time_text(k.created_at) as created_at) e
       offset 0) t (entry)
     where (k.upto <= max_bytes or k.n = 1) and k.is_asked
  ),
  measured as materialized (
    select s.nth, s.seq, s.n, s.is_end, s.is_of_first, f.entry, sum(octet_length(f.entry) + 2) over w as upto
      from shown s
     cross join lateral (
       select case when s.is_huge or octet_length(s.entry) > max_bytes
                   then perch.withheld(s.entry, 'too_large', greatest(s.bytes, octet_length(s.entry)), max_bytes)
                   else s.entry end offset 0) f (entry)
    window w as (order by s.n)
  ),
  kept as (
    select m.* from measured m
     where m.n <= (
       select coalesce(max(x.n) filter (where x.is_end and x.upto <= max_bytes),
                       max(x.n) filter (where x.is_of_first and x.upto <= max_bytes), 1) from measured x)
  )
  select coalesce('[' || string_agg(k.entry, ', ' order by k.n) || ']', '[]')::jsonb as changes,
         count(*) = (select count(*) from sized) as is_all, max(array[k.nth, k.seq]) as last,
         (select count(*) from listed) as listed,
         (select max(array[l.nth, l.seq]) from listed l
           where (array[l.nth, l.seq] < (select a.beyond from asked a)) is not false) as last_asked
    into made
    from kept k;
  changes := made.changes;
  -- What was asked about may all be out of sight.
  cut := case when not made.is_all then coalesce(made.last, made.last_asked)
              when made.listed = most then made.last_asked end;
  if cut is not null then
    cut_run := cut[1];
    cut_seq := case when cut[2] < runs[cut_run].last_seq then cut[2] end;
  end if;
end
$$;

comment on function perch.log_page(perch.commit_order[], text[], text[], jsonb, integer, bigint) is
  'Private. The entries of these runs that are of these apps and tables, as perch.read_log gives them; where they are more than a page may hold: the run at which it ended, and in the middle of one the entry.';
