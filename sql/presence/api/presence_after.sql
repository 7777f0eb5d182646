-- Whole calls only: the numbers of some hundred of them, then all they wrote.
create or replace function perch.presence_after(node_id uuid, after_change bigint)
returns table (change_id bigint, space_id text, app_id text, table_name text, record_id text, kind text,
               entry_key bytea, entry bytea, set_at bigint, keep_ms bigint, user_id text, held_ms bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select p.change_id, p.space_id, p.app_id, p.table_name, p.record_id, p.kind, p.entry_key, p.entry, p.set_at,
         ceil(extract(epoch from p.expires_at - clock_timestamp()) * 1000)::bigint,
         p.user_id, greatest(0, ceil(extract(epoch from p.held_until - clock_timestamp()) * 1000))::bigint
    from perch.presence p
   where p.change_id > presence_after.after_change
     and p.change_id <= (
       select max(c.change_id)
         from (select x.change_id from perch.presence x
                where x.change_id > presence_after.after_change and x.node_id <> presence_after.node_id
                group by x.change_id order by x.change_id limit 100) c)
     and p.node_id <> presence_after.node_id
     and p.expires_at > clock_timestamp()
   order by p.change_id
$$;
grant execute on function perch.presence_after to perch_worker;

comment on function perch.presence_after(uuid, bigint) is
  'For perch_worker: what other nodes put into presence rooms after a change_id, in the order of their calls, a hundred calls at most; keep_ms is how long it still counts, held_ms how long its key is its user''s alone.';
