-- How long a page is: as in perch.pull_page. What a record takes where it is stored is known before it is made into
-- text, so no more are than are likely to fit.
create or replace function perch.snapshot_page(
  app_id text, space_id text, tables text[], versions jsonb, after_table text, after_id text, max_count integer,
  max_bytes bigint, wanted jsonb,
  out page text, out count bigint, out room integer, out last_table text, out last_id text, out too_large bigint,
  out upgrade_failed bigint
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  most integer := max_count;
  fetched bigint;
begin
  loop
    begin
      with found as materialized (
        select r.table_name, r.record_id, r.field_meta, r.written_at, r.written_by, r.seq, r.inserted_at, r.deleted_at,
               r.schema_version, c.data, c.long_data, s.bytes, s.bytes > max_bytes as is_huge
          from perch.records_after(snapshot_page.space_id, snapshot_page.app_id, snapshot_page.tables, after_table,
            after_id, most) r
         -- Of what is to be lifted first, all: the names are those of the version asked for.
         cross join lateral (
           select case when (r.schema_version < (versions ->> r.table_name)::integer) is not true
                       then wanted -> r.table_name end) n (names)
         cross join lateral (
           select perch.chosen_fields(r.data, n.names) as data,
                  case when n.names is null then r.long_data
                       when exists (select from unnest(r.long_fields) l where n.names ? l)
                       then perch.chosen_fields(r.long_data, n.names) end as long_data
           offset 0) c
         cross join lateral (
           select case when n.names is null then coalesce(r.size, 0)
                       else octet_length(c.data::text) + coalesce(octet_length(c.long_data::text), 0) end) s (bytes)
      ),
      numbered as (
        select f.*, row_number() over w as n, sum(case when not f.is_huge then f.bytes end) over w as upto
          from found f
        window w as (order by f.table_name, f.record_id)
      ),
      likely as (
        select n.* from numbered n where coalesce(n.upto, 0) <= max_bytes or n.n = 1
      ),
      shown as (
        select k.n, k.table_name, k.record_id, y.reason,
               case when y.reason is null then t.entry
                    else perch.withheld(t.entry, y.reason, greatest(k.bytes, octet_length(t.entry)), max_bytes)
               end as entry
          from likely k
         cross join lateral (select (versions ->> k.table_name)::integer) asked (version)
         -- Each of these is a step of its own (offset 0): taken into its uses, it would be worked out for each of them.
         cross join lateral (
           select case when not k.is_huge then coalesce(k.data || k.long_data, k.data) end offset 0) w (data)
         cross join lateral (
           select coalesce(
                    jsonb_object_agg(n, coalesce(k.field_meta ->> n, perch.stamp(k.written_at, k.written_by))), '{}')
             from jsonb_object_keys(w.data) n
            where k.written_at is not null
           offset 0) m (stamps)
         cross join lateral (
           select case when not k.is_huge and k.schema_version < asked.version then
             perch.try_upgrade(
               jsonb_build_object('op', 'insert', 'table', k.table_name, 'id', k.record_id, 'data', w.data,
                 'field_meta', m.stamps),
               snapshot_page.app_id, k.table_name, k.schema_version, asked.version) end
           offset 0) v (lifted)
         cross join lateral (select coalesce(v.lifted ? 'failed', false)) f (failed)
         cross join lateral (select perch.chosen_fields(v.lifted -> 'data', wanted -> k.table_name) offset 0) l (data)
         cross join lateral (
           select row_to_json(e)::text
             from (
               select k.table_name as "table", k.record_id as id,
                      case when not (f.failed or k.is_huge) then coalesce(l.data, w.data) end as data,
                      case when f.failed or k.is_huge then '{}'
                           when v.lifted is null then m.stamps
                           else (
                             select coalesce(
                                      jsonb_object_agg(n, coalesce(v.lifted -> 'field_meta' ->> n,
                                        perch.stamp(k.written_at, k.written_by))), '{}')
                               from jsonb_object_keys(l.data) n) end as field_meta,
                      k.seq, perch.time_text(k.inserted_at) as inserted_at, perch.time_text(k.deleted_at) as deleted_at,
                      case when v.lifted is not null and not f.failed then asked.version
                           else k.schema_version end as schema_version) e
           offset 0) t (entry)
         cross join lateral (
           select case when f.failed then 'upgrade_failed'
                       when k.is_huge or octet_length(t.entry) > max_bytes then 'too_large' end) y (reason)
      ),
      entries as materialized (
        select s.*, sum(octet_length(s.entry) + 2) over (order by s.n) as text_upto from shown s
      ),
      kept as (
        select e.* from entries e where e.text_upto <= max_bytes or e.n = 1
      )
      select concat('[', string_agg(k.entry, ', ' order by k.n), ']'), count(*), (select count(*) from found),
             (array_agg(k.table_name order by k.n desc))[1], (array_agg(k.record_id order by k.n desc))[1],
             count(*) filter (where k.reason = 'too_large'), count(*) filter (where k.reason = 'upgrade_failed')
        into page, count, fetched, last_table, last_id, too_large, upgrade_failed
        from kept k;
      room := case when count < fetched then 0 else most - count end;
      return;
    exception when program_limit_exceeded then
      -- More text than fits into one value. (Of one record that cannot be: it is known beforehand to be huge.)
      if most = 1 then
        raise;
      end if;
      most := greatest(1, most / 4);
    end;
  end loop;
end
$$;

comment on function perch.snapshot_page(text, text, text[], jsonb, text, text, integer, bigint, jsonb) is
  'Private. The live records of a space behind one of them, as a JSON list in text: at most max_count, and max_bytes but for the first; room: how many more would have fitted, 0 where others follow; wanted: as perch.check_fields gives it; too_large, upgrade_failed: how many are withheld, and why.';
