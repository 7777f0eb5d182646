-- What a page shows under concurrent commits. The function is stable: every query in it sees the database as it was when the
-- caller's statement began. In that snapshot each space's log is a prefix of its order: whoever has number n has waited for the
-- commit of every smaller number (perch.next_seq), so if n is visible, so is all before it. The counter of the space
-- belongs to the same snapshot, hence equals the last visible entry. So a position never passes an entry that is still to come.
create or replace function perch.pull(
  app_id text, cursor jsonb default '{}', page_size integer default 1000, tables text[] default null, exclude_client_id text default null
)
returns jsonb
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  me constant text := perch.require_user();
  readable constant text[] := array(select distinct s collate "C" from unnest(perch.current_space_ids()) s order by 1);
  position constant jsonb := perch.read_cursor(pull.cursor, pull.app_id, pull.tables);
  epoch constant text := (select e.epoch from perch.log_epoch e);
  scan_size constant integer := perch.check_page_size(pull.page_size);
  starts bigint[];
  heads bigint[];
  behind text[];
  lost jsonb;
  page jsonb;
  ends jsonb;
  fetched bigint;
begin
  perform perch.check_id(pull.app_id, 'app_id', 64);

  select array_agg(coalesce((position -> 'spaces' ->> r.space_id)::bigint, 0) order by r.nth),
         array_agg(coalesce(h.seq, 0) order by r.nth),
         jsonb_agg(jsonb_build_object('space_id', r.space_id, 'reason', w.reason, 'oldest_seq', coalesce(h.oldest_seq, 1), 'latest_seq', coalesce(h.seq, 0))
           order by r.nth) filter (where w.reason is not null)
    into starts, heads, lost
    from unnest(readable) with ordinality r (space_id, nth)
    left join perch.space_heads h on h.space_id = r.space_id
    cross join lateral (select case
        when position ->> 'epoch' <> epoch then 'epoch'
        when (position -> 'spaces' ->> r.space_id)::bigint > coalesce(h.seq, 0) then 'ahead'
        when coalesce((position -> 'spaces' ->> r.space_id)::bigint, 0) < h.oldest_seq - 1 then 'expired'
      end as reason) w;
  if lost is not null then
    perform perch.fail('PE410', 'the log does not go on from this cursor', jsonb_build_object('spaces', lost),
      'Call perch.snapshot_records for each of these spaces, passing the cursor, and pull on from the cursor it returns.');
  end if;

  behind := array(select s from unnest(readable) s where not (position -> 'spaces' ? s) is true or position -> 'behind' ? s);

  with spaces as (
    select r.space_id, r.start, r.head
      from unnest(readable, starts, heads) with ordinality r (space_id, start, head, nth)
     where r.start < r.head order by r.nth
  ),
  entries as materialized (
    select c.*
      from spaces s
      cross join lateral (
        select l.* from perch.sync_changes l
         where l.space_id = s.space_id and l.seq > s.start and l.seq <= s.head
         order by l.seq limit scan_size) c
     limit scan_size
  )
  select coalesce(jsonb_agg(jsonb_build_object(
           'space_id', e.space_id, 'seq', e.seq, 'op', e.op, 'table', e.table_name, 'id', e.record_id,
           'data', case when e.changed_fields is null then e.data else (
               select coalesce(jsonb_object_agg(f.name, r.data -> f.name), '{}')
                 from unnest(e.changed_fields) f (name)
                 join perch.stored_records r
                   on r.space_id = e.space_id and r.app_id = e.app_id and r.table_name = e.table_name and r.record_id = e.record_id
                where r.data ? f.name) end,
           'field_meta', coalesce(e.field_meta, '{}'), 'at', perch.stamp(e.at), 'deleted_at', perch.stamp(e.deleted_at),
           'user_id', e.user_id, 'client_id', e.client_id, 'op_id', e.op_id, 'schema_version', e.schema_version,
           'actor', e.actor, 'origin', e.origin, 'created_at', perch.stamp(e.created_at)) order by e.space_id, e.seq)
           filter (where e.app_id = pull.app_id and (pull.tables is null or e.table_name = any (pull.tables))
             and (pull.exclude_client_id is null or e.client_id is distinct from pull.exclude_client_id or e.space_id = any (behind))), '[]'),
         (select jsonb_object_agg(x.space_id, x.seq) from (select l.space_id, max(l.seq) as seq from entries l group by l.space_id) x),
         count(*)
    into page, ends, fetched
    from entries e;

  ends := coalesce((select jsonb_object_agg(r.space_id, r.start) from unnest(readable, starts) r (space_id, start)), '{}') || coalesce(ends, '{}');
  return jsonb_build_object(
    'changes', page,
    'cursor', jsonb_strip_nulls(jsonb_build_object('v', 1, 'app', pull.app_id, 'tables', perch.tables_digest(pull.tables), 'epoch', epoch, 'spaces', ends,
       'behind', to_jsonb(array(select r.space_id from unnest(readable, heads) r (space_id, head)
         where r.space_id = any (behind) and (ends ->> r.space_id)::bigint < r.head)))),
    'has_more', exists (select from unnest(readable, heads) r (space_id, head) where (ends ->> r.space_id)::bigint < r.head),
    'revoked_space_ids', to_jsonb(array(select k from jsonb_object_keys(coalesce(position -> 'spaces', '{}')) k where k <> all (readable))));
end
$$;

comment on function perch.pull(text, jsonb, integer, text[], text) is
  'The changes of the spaces that the current user may read, after the cursor ({}: from the beginning), at most page_size, oldest first within each space.';
