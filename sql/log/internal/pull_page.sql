-- What a page shows under concurrent commits. The function is stable: every query in it sees the database as it was when the
-- caller's statement began. In that snapshot each space's log is a prefix of its order: whoever has number n has waited for the
-- commit of every smaller number (perch.number_changes), so if n is visible, so is all before it, and the counter, which belongs to
-- the same snapshot, is the last visible number. So a position never passes an entry that is still to come.
--
-- What a page costs. Numbers have no gaps, so from the counters alone it is known where a page of at most scan_size entries ends;
-- the log is then read by its primary key, space by space, and only as far as the page goes. Entries of other apps or tables are passed
-- over within scan_size, so a page may be short, or empty, and yet has_more be true.
--
-- Why no page is longer than max_page_bytes, however its entries compress. What entries may come to is added up first, from the sizes that
-- are written beside them, so that the text of few is made in vain; then the text itself is measured. An entry that is too long by
-- itself is given without its content, and says so: left out in silence it would be lost, and given whole it would stop every reader here.
--
-- Why no page cuts a transaction. What one wrote in a space stands together in its log (perch.run_end), so a page that ends behind the
-- last entry of a transaction has all of it. It goes on to there from where page_size or scan_size would end it; where it would become too
-- long, it ends before a transaction that is not its first. Only one that is longer than max_run, or max_page_bytes, comes in parts, and
-- all pages but its last say so ("unfinished").
create or replace function perch.pull_page(
  app_id text, cursor jsonb default '{}', page_size integer default 1000, tables text[] default null, exclude_client_id text default null,
  schema_versions jsonb default null
)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  readable constant text[] := array(select distinct s collate "C" from unnest(perch.current_space_ids()) s order by 1);
  position constant jsonb := perch.read_cursor(pull_page.cursor, pull_page.app_id, pull_page.tables);
  epoch constant text := (select e.epoch from perch.log_epoch e);
  -- Of these tables not everything is for this reader; what was read was read by these rules, in these roles.
  ruled constant text[] := perch.ruled_tables(pull_page.app_id, pull_page.tables);
  rules constant text := perch.rules_mark(pull_page.app_id, pull_page.tables);
  roles constant text[] := case when rules is not null then perch.roles_in(readable) end;
  max_count integer := perch.check_page_size(pull_page.page_size);
  -- How far beyond its size a page goes for the sake of a transaction.
  max_run integer := 10000;
  max_bytes constant bigint := perch.setting('max_page_bytes', 16777216);
  -- Where the caller would have a page end, if the next entry need not be on it.
  page_bytes constant bigint := least(max_bytes, nullif(current_setting('perch.page_bytes', true), '')::bigint);
  -- What a page may be for the sake of its first transaction: more does not fit into one jsonb, as which perch.pull gives it.
  run_bytes constant bigint := least(max_bytes, 67108864);
  versions jsonb;
  starts bigint[];
  marks text[];
  heads bigint[];
  head_marks text[];
  lag bigint;
  ends bigint[];
  behind text[];
  lost jsonb;
  page text;
  given bigint;
  fetched bigint;
  too_large bigint;
  failed bigint;
  last bigint[];
  is_short boolean;
  unfinished json;
begin
  perform perch.check_id(pull_page.app_id, 'app_id', 64);
  versions := perch.check_versions(pull_page.app_id, pull_page.schema_versions);

  -- A position is where the reader says, if the entry there is the one it was given: a database that went back gives numbers out again.
  -- At the end of a log, where most readers stand in most spaces, its counter tells. Elsewhere the log does; the limit keeps that a look
  -- at one entry a space, by its key.
  select array_agg(p.start order by p.nth), array_agg(p.mark order by p.nth), array_agg(p.head order by p.nth),
         array_agg(p.head_mark order by p.nth), sum(greatest(p.head - p.start, 0)),
         array_agg(least(p.head, p.start + greatest(0, greatest(max_count * 2, 5000) - p.before)) order by p.nth),
         jsonb_agg(jsonb_build_object('space_id', p.space_id, 'reason', coalesce(p.reason, 'epoch'), 'oldest_seq', p.oldest,
             'latest_seq', p.head) || case when p.reason is null then jsonb_build_object('cause', p.cause) else '{}' end order by p.nth)
           filter (where p.reason is not null or p.cause is not null)
    into starts, marks, heads, head_marks, lag, ends, lost
    from (
      select r.nth, r.space_id, c.start, c.mark, c.head, h.mark as head_mark, c.oldest,
             sum(greatest(c.head - c.start, 0)) over (order by r.nth) - greatest(c.head - c.start, 0) as before,
             case when position ->> 'epoch' <> epoch then 'epoch'
                  when c.start > c.head then 'ahead'
                  when c.start < c.oldest - 1 then 'expired'
                  when c.start = 0 then null
                  when c.start = c.head and h.mark is not null then case when h.mark <> coalesce(c.mark, '') then 'epoch' end
                  when c.start < c.oldest then case when h.before_oldest <> coalesce(c.mark, '') then 'epoch' end
                  when e.mark is distinct from c.mark then 'epoch' end as reason,
             case when known.space_id is null then null
                  when position ->> 'rules' is distinct from rules then 'rules'
                  when known.place ->> 2 is distinct from roles[r.nth] then 'role' end as cause
        from unnest(readable) with ordinality r (space_id, nth)
        left join jsonb_each(position -> 'spaces') known (space_id, place) on known.space_id = r.space_id
        left join perch.space_heads h on h.space_id = r.space_id
        cross join lateral (
          -- Worked out first (offset 0): in a search, a policy lets no such expression go before itself, which then looks at the whole space.
          select coalesce((known.place ->> 0)::bigint, 0), known.place ->> 1, coalesce(h.seq, 0), coalesce(h.oldest_seq, 1) offset 0
        ) c (start, mark, head, oldest)
        left join lateral (
          select perch.entry_mark(l.created_at) as mark
            from perch.sync_changes l
           where c.start > 0 and (c.start = c.head and h.mark is not null) is not true and l.space_id = r.space_id and l.seq = c.start
           limit 1) e on true
    ) p;
  if lost is not null then
    perform perch.fail('PE410', 'the log does not go on from this cursor', jsonb_build_object('spaces', lost),
      'Call perch.snapshot_records for each of these spaces, passing the cursor, and pull on from the cursor it returns.');
  end if;

  -- In these, echoes are not left out yet.
  behind := array(
    select r.space_id from unnest(readable) r (space_id)
      left join jsonb_object_keys(position -> 'spaces') known (space_id) on known.space_id = r.space_id
      left join jsonb_array_elements_text(position -> 'behind') late (space_id) on late.space_id = r.space_id
     where known.space_id is null or late.space_id is not null);

  loop
    begin
      page := null;
      -- As a rule there is nothing new, which is known already: the counters have not moved.
      if ends = starts then
        page := '[]';
        given := 0;
      elsif versions is null and ruled = '{}' and least(lag, max_count) * 8000 <= page_bytes then
        select s.page, s.count, s.last into page, given, last
          from perch.short_page(readable, starts, ends, heads, pull_page.app_id, pull_page.tables, pull_page.exclude_client_id, behind, max_count) s;
      end if;
      is_short := page is not null;
      fetched := given;
      if page is null then
        with begun as materialized (
          select s.nth, c.*
            from unnest(readable, starts, ends) with ordinality s (space_id, start, stop, nth)
            cross join lateral (
              select l.* from perch.sync_changes l
               where l.space_id = s.space_id and l.seq > s.start and l.seq <= s.stop
                 and l.app_id = pull_page.app_id
                 and (pull_page.tables is null or l.table_name = any (pull_page.tables))
                 -- A client id is whatever a client calls itself: one's own is that of one's own pushes. Of a synced row a client does not
                 -- know what it has become: defaults, generated columns and triggers had their say.
                 and (pull_page.exclude_client_id is null or l.client_id is distinct from pull_page.exclude_client_id
                      or l.user_id <> me or l.space_id = any (behind) or exists (
                        select from perch.synced_relations r where r.app_id = l.app_id and r.table_name = l.table_name))
               order by l.seq limit max_count
            ) c
           where s.start < s.stop
           order by s.nth, c.seq
           limit max_count
        ),
        -- The rest of the transaction in which the page would end, unless it ends with the log.
        rest as (
          select c.nth, l.*
            from (
              select b.nth, b.space_id, b.seq, perch.run_end(b.space_id, b.seq, least(heads[b.nth], b.seq + max_run)) as stop
                from (select a.nth, a.space_id, a.seq, a.txid from begun a order by a.nth desc, a.seq desc limit 1) b
               where b.txid is not null and ((select count(*) from begun) = max_count or ends[b.nth] < heads[b.nth])
              offset 0) c
           cross join lateral (
              select l.* from perch.sync_changes l
               where l.space_id = c.space_id and l.seq > c.seq and l.seq <= c.stop
                 and l.app_id = pull_page.app_id
                 and (pull_page.tables is null or l.table_name = any (pull_page.tables))
                 and (pull_page.exclude_client_id is null or l.client_id is distinct from pull_page.exclude_client_id
                      or l.user_id <> me or l.space_id = any (behind) or exists (
                        select from perch.synced_relations r where r.app_id = l.app_id and r.table_name = l.table_name))
               order by l.seq limit max_run) l
           where c.seq < c.stop
        ),
        listed as materialized (select b.* from begun b union all select r.* from rest r),
        seen as materialized (
          select s.*
            from (select array_agg(l.space_id order by l.nth, l.seq), array_agg(l.seq order by l.nth, l.seq)
                    from listed l where l.table_name = any (ruled)) r (space_ids, seqs)
           cross join lateral perch.changes_in_sight(pull_page.app_id, r.space_ids, r.seqs) s
           where r.seqs is not null
        ),
        -- What is out of sight goes on as an entry without text: a page that has nothing else moves on, too.
        told as (
          select l.nth, l.space_id, l.seq, case when x.is_ruled then s.op else l.op end as op, l.table_name, l.record_id,
                 case when x.is_ruled then s.data else l.data end as data, l.field_meta, l.at, l.deleted_at, l.user_id, l.client_id,
                 l.op_id, l.txid, l.schema_version, l.actor, l.origin, l.created_at, l.changed_fields,
                 case when x.is_ruled then s.size else l.size end as size, x.is_ruled and s.seq is null as is_out_of_sight
            from listed l
           cross join lateral (select l.table_name = any (ruled)) x (is_ruled)
            left join seen s on x.is_ruled and s.space_id = l.space_id and s.seq = l.seq
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
                 and r.space_id = f.space_id and r.app_id = pull_page.app_id and r.table_name = f.table_name and r.record_id = f.record_id
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
          select w.nth, w.seq, w.n, w.is_of_first, w.is_end, w.reason, w.entry, coalesce(sum(octet_length(w.entry) + 2) over (order by w.nth, w.seq), 0) as upto
            from (
              select k.nth, k.seq, k.n, k.is_of_first, k.is_end, y.reason,
                     case when y.reason is null then t.entry else
                       perch.withheld(t.entry, y.reason, greatest(k.bytes, octet_length(t.entry)), max_bytes) end as entry
                from likely k
                -- Each of these is a step of its own (offset 0): taken into its uses, it would be worked out for each of them.
                cross join lateral (
                  select case when k.op <> 'delete' and k.changed_fields is null and not k.is_huge
                               and k.schema_version < (versions ->> k.table_name)::integer then
                    perch.try_upgrade(jsonb_build_object('op', k.op, 'table', k.table_name, 'id', k.record_id, 'data', k.data,
                        'field_meta', coalesce(k.field_meta, '{}'), 'at', perch.time_text(k.at)),
                      pull_page.app_id, k.table_name, k.schema_version, (versions ->> k.table_name)::integer) end
                  offset 0
                ) v (lifted)
                cross join lateral (select coalesce(v.lifted ? 'failed', false), coalesce(v.lifted ? 'failed', false) or k.is_huge) x (failed, bare)
                cross join lateral (
                  select case when not k.is_out_of_sight then row_to_json(e)::text end
                    from (
                      select k.space_id, k.seq, k.op, k.table_name as "table", k.record_id as id,
                             case when x.bare then null
                                  when v.lifted is not null then v.lifted -> 'data'
                                  when k.changed_fields is null then k.data
                                  else (select coalesce(json_object_agg(n, coalesce(k.document -> n, k.long_document -> n))::jsonb, '{}')
                                          from unnest(k.changed_fields) n where k.document ? n or n = any (k.long_fields)) end as data,
                             case when x.bare then '{}' else coalesce(v.lifted -> 'field_meta', k.field_meta, '{}') end as field_meta,
                             perch.time_text(k.at) as at, perch.time_text(k.deleted_at) as deleted_at, k.user_id, k.client_id, k.op_id, k.txid,
                             case when v.lifted is not null and not x.failed then (versions ->> k.table_name)::integer else k.schema_version end as schema_version,
                             case when not x.bare then k.actor end as actor, k.origin, perch.time_text(k.created_at) as created_at) e
                  offset 0
                ) t (entry)
                cross join lateral (
                  select case when x.failed then 'upgrade_failed' when k.is_huge or octet_length(t.entry) > max_bytes then 'too_large' end) y (reason)
               where coalesce(k.upto, 0) <= case when k.is_of_first then run_bytes else page_bytes end or k.n = 1) w
        ),
        kept as (
          select e.* from entries e
           where e.n <= (
             select coalesce(max(x.n) filter (where x.is_end and x.upto <= page_bytes),
                             max(x.n) filter (where x.is_of_first and x.upto <= run_bytes), 1) from entries x)
        )
        select concat('[', string_agg(k.entry, ', ' order by k.nth, k.seq), ']'), count(*), (select count(*) from found), max(array[k.nth, k.seq]),
               count(*) filter (where k.reason = 'too_large'), count(*) filter (where k.reason = 'upgrade_failed')
          into page, given, fetched, last, too_large, failed
          from kept k;
      end if;
      -- Ended before its bounds: at its last entry.
      if fetched >= max_count or given < fetched then
        ends := ends[:last[1] - 1] || last[2] || starts[last[1] + 1:];
      elsif last[2] > ends[last[1]] then
        ends[last[1]] := last[2];
      end if;
      if ends <> starts then
        marks := array(
          select case when r.stop = r.start then r.mark
                      when r.stop = r.head and r.head_mark is not null then r.head_mark
                      else (select perch.entry_mark(l.created_at)
                              from perch.sync_changes l where l.space_id = r.space_id and l.seq = r.stop limit 1) end
            from unnest(readable, starts, marks, ends, heads, head_marks) with ordinality r (space_id, start, mark, stop, head, head_mark, nth)
           order by r.nth);
      end if;
      if ends <> heads and not is_short then
        select json_build_object('space_id', r.space_id, 'txid', e.txid) into unfinished
          from unnest(readable, starts, ends, heads) r (space_id, start, stop, head)
         cross join lateral (
           select l.txid, perch.run_end(r.space_id, r.stop, least(r.head, r.stop + max_run)) as stop from perch.sync_changes l
            where l.space_id = r.space_id and l.seq = r.stop limit 1) e
         cross join lateral (
           select from perch.sync_changes l
            where l.space_id = r.space_id and l.seq > r.stop and l.seq <= e.stop
              and l.app_id = pull_page.app_id and (pull_page.tables is null or l.table_name = any (pull_page.tables)) limit 1) more
         where r.stop > r.start and r.stop < r.head;
      end if;
      return concat(
        '{"changes":', page,
        ',"cursor":', jsonb_strip_nulls(jsonb_build_object('v', 2, 'app', pull_page.app_id, 'tables', perch.tables_digest(pull_page.tables), 'epoch', epoch, 'rules', rules))
             || (select jsonb_build_object(
                          'spaces', jsonb_object_agg(r.space_id, jsonb_build_array(r.stop, r.mark)
                            || case when rules is not null then jsonb_build_array(r.role) else '[]' end),
                          'behind', coalesce(jsonb_agg(r.space_id) filter (where r.stop < r.head and r.space_id = any (behind)), '[]'))
                   from unnest(readable, marks, ends, heads, roles) r (space_id, mark, stop, head, role)),
        ',"has_more":', to_json(ends <> heads),
        ',"revoked_space_ids":', to_json(array(select k from jsonb_object_keys(position -> 'spaces') k where k <> all (readable))),
        case when unfinished is not null then concat(',"unfinished":', unfinished) end,
        case when too_large + failed > 0 then concat(',"withheld":', json_build_object('too_large', too_large, 'upgrade_failed', failed)) end,
        '}');
    exception when program_limit_exceeded then
      -- More text than fits into one value. (Of one entry that cannot be: it is known beforehand to be huge.)
      if max_count = 1 and max_run = 0 then
        raise;
      end if;
      max_count := greatest(1, max_count / 4);
      max_run := max_run / 4;
    end;
  end loop;
end
$$;

comment on function perch.pull_page(text, jsonb, integer, text[], text, jsonb) is
  'Private. The page of perch.pull_text, of what has its numbers.';
