-- What perch.pull_text gives where nothing is out of the ordinary: no entry is long, none is to be lifted, and the page
-- ends with the logs, or where it is full with a transaction. One statement with a third of the steps of
-- perch.read_page; that they give alike, a test sees to. What has no size has no more than 4,000 bytes of content, and
-- ids besides.
create or replace function perch.short_page(
  places perch.log_place[], app_id text, tables text[], exclude_client_id text, behind text[], max_count integer,
  out page text, out count bigint, out last bigint[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  select case when bool_and(f.is_short) then concat('[', string_agg(f.entry, ', ' order by f.nth, f.seq), ']')
              when count(*) = 0 then '[]' end,
         count(*), array[max(f.nth), (array_agg(f.seq order by f.nth, f.seq))[count(*)]]
    into page, count, last
    from (
      select c.nth, c.seq, c.size is null and c.fields is not null as is_short,
             case when c.size is null and c.fields is not null then (
               select row_to_json(e)::text
                 from (
                   select c.space_id, c.seq, c.op, c.table_name as "table", c.record_id as id, c.fields as data,
                          coalesce(c.field_meta, '{}') as field_meta, perch.time_text(c.at) as at,
                          perch.time_text(c.deleted_at) as deleted_at, c.user_id, c.client_id, c.op_id, c.txid,
                          c.schema_version, c.actor, c.origin, perch.time_text(c.created_at) as created_at) e)
               end as entry
        from (
          -- Of a document what changed, as its record has it now; not as a join, which costs as much as all else here.
          select p.nth, l.*,
                 case when l.changed_fields is null then coalesce(l.data, 'null') else (
                   select case when r.size is null then (
                            select coalesce(json_object_agg(n, coalesce(r.data -> n, r.long_data -> n))::jsonb, '{}')
                              from unnest(l.changed_fields) n
                             where r.data ? n or n = any (r.long_fields)) end
                     from perch.stored_records r
                    where r.space_id = l.space_id and r.app_id = l.app_id and r.table_name = l.table_name
                      and r.record_id = l.record_id
                    limit 1) end as fields
            from unnest(places) with ordinality p (space_id, start, mark, head, head_mark, stop, role, nth)
           cross join lateral perch.log_part(p.space_id, p.start, p.stop, short_page.app_id, short_page.tables,
                   short_page.exclude_client_id, p.space_id = any (behind), max_count) l
           where p.start < p.stop
           order by p.nth, l.seq
           limit max_count) c) f;
  if (case when count < max_count then exists (select from unnest(places) p where p.stop < p.head)
           else perch.run_end(places[last[1]].space_id, last[2], least(last[2] + 1, places[last[1]].head)) > last[2]
      end)
  then
    page := null;
  end if;
end
$$;

comment on function perch.short_page(perch.log_place[], text, text[], text, text[], integer) is
  'Private. At most max_count entries of the logs of places, as perch.read_page gives them, how many, and where the last stands: the place of its space among places, and its seq. page is null where it takes more to make it.';
