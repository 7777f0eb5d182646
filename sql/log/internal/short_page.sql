-- What perch.pull_text gives where nothing is out of the ordinary: no entry is long, none is to be lifted, and the page
-- ends with the logs, or where it is full with a transaction. One statement with a third of the steps of that one; that
-- they give alike, a test sees to. What has no size has no more than 4,000 bytes of content, and ids besides.
create or replace function perch.short_page(
  readable text[], starts bigint[], ends bigint[], heads bigint[], app_id text, tables text[], exclude_client_id text,
    behind text[],
  max_count integer, out page text, out count bigint, out last bigint[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  select case when bool_and(f.is_short) then concat('[', string_agg(f.entry, ', ' order by f.nth, f.seq), ']')
              when count(*) = 0 then '[]' end, count(*),
                array[max(f.nth), (array_agg(f.seq order by f.nth, f.seq))[count(*)]]
    into page, count, last
    from (
      select s.nth, c.seq, c.size is null and d.size is null as is_short,
             case when c.size is null and d.size is null then (
               select row_to_json(e)::text
                 from (
                   select c.space_id, c.seq, c.op, c.table_name as "table", c.record_id as id,
                          case when c.changed_fields is null then c.data
                               else (
                                 select coalesce(
                                          json_object_agg(n, coalesce(d.data -> n, d.long_data -> n))::jsonb, '{}')
                                       from unnest(c.changed_fields) n
                                         where d.data ? n or n = any (d.long_fields)) end as data,
                          coalesce(c.field_meta, '{}') as field_meta,
                          perch.time_text(c.at) as at, perch.time_text(c.deleted_at) as deleted_at, c.user_id,
                            c.client_id, c.op_id, c.txid,
                          c.schema_version, c.actor, c.origin,
                            perch.time_text(c.created_at) as created_at) e) end as entry
        from unnest(readable, starts, ends) with ordinality s (space_id, start, stop, nth)
        cross join lateral (
          select l.* from perch.sync_changes l
           where l.space_id = s.space_id and l.seq > s.start and l.seq <= s.stop
             and l.app_id = short_page.app_id
             and (short_page.tables is null or l.table_name = any (short_page.tables))
             and (short_page.exclude_client_id is null or l.client_id is distinct from short_page.exclude_client_id
                  or l.user_id <> perch.current_user_id() or l.space_id = any (behind)
                  or exists (select from perch.synced_relations r
                              where r.app_id = l.app_id and r.table_name = l.table_name))
           order by l.seq limit max_count
        ) c
        left join lateral (
          select r.data, r.size, r.long_fields,
                 case when r.size is null and r.long_fields && c.changed_fields then r.long_data end as long_data
            from perch.stored_records r
           where c.changed_fields is not null
             and r.space_id = c.space_id and r.app_id = c.app_id and r.table_name = c.table_name
               and r.record_id = c.record_id
           limit 1
        ) d on true
       where s.start < s.stop
       order by s.nth, c.seq
       limit max_count) f;
  if (case when count < max_count then ends <> heads
           else perch.run_end(readable[last[1]], last[2], least(last[2] + 1, heads[last[1]])) > last[2] end)
  then
    page := null;
  end if;
end
$$;

comment on function perch.short_page(text[], bigint[], bigint[], bigint[], text, text[], text, text[], integer) is
  'Private. At most max_count entries between starts and ends, as perch.pull_text gives them, how many, and where the last stands: the place of its space among readable, and its seq. page is null where it takes more to make it.';
