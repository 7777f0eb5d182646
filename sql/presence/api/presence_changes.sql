-- A change_id does not identify the call that took it: a database that went back gives it out again. What is kept of a
-- call is overwritten by the next one of the same key, so there is nothing to compare a mark with. But no server goes
-- back while it runs: who reads from another one than before (a standby that was promoted; one that was started on
-- another state of its files, or with another database) begins anew.
--
-- One statement, hence one snapshot of the database: when there is nothing new, there is nothing up to the head.
create or replace function perch.presence_changes(node_id uuid, after_change bigint, server text)
returns table (head bigint, server text, change_id bigint, space_id text, app_id text, table_name text, record_id text,
               kind text, entry_key bytea, entry bytea, set_at bigint, keep_ms bigint, user_id text, held_ms bigint)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select h.change_id, s.here, n.*
    from perch.presence_head h
   cross join (select extract(epoch from pg_postmaster_start_time()) || '/' || d.oid as here
                 from pg_database d where d.datname = current_database()) s
    left join lateral perch.presence_after(presence_changes.node_id,
      case when s.here <> presence_changes.server then 0 else presence_changes.after_change end) n on true
$$;
grant execute on function perch.presence_changes to perch_worker;

comment on function perch.presence_changes(uuid, bigint, text) is
  'For perch_worker: as perch.presence_after, with the last change_id that was given out (head), and what tells the server from others (server), to be given with the next call: read from another one, everything is new; null: from whichever. One row of nulls where there are none.';
