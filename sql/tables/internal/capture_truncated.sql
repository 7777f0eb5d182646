-- See perch.capture_statement; before TRUNCATE, which has locked the table by then, so that what is read here is what
-- goes. Where the whole of a partitioned table is emptied, Postgres fires the triggers of the partitions, too: they
-- leave it to that of the table, which says so to them (perch.truncating) until all of it is done.
create or replace function perch.capture_truncated()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  session_settings constant jsonb := perch.pin_settings();
  root constant regclass := (select r.relation from perch.synced_relations r where r.app_id = tg_argv[0]
    and r.table_name = tg_argv[1]);
  captured bigint;
begin
  if tg_when = 'AFTER' then
    perform set_config('perch.truncating', '', true);
  elsif tg_relid = root or nullif(current_setting('perch.truncating', true), '') is distinct from root::oid::text then
    if tg_relid = root and (select c.relkind = 'p' from pg_class c where c.oid = root) then
      perform set_config('perch.truncating', root::oid::text, true);
    end if;
    execute format(
      $sql$insert into perch.captured_changes
             (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, user_id, client_id, captured_at,
               old_version)
           select $1, row_number() over (), pg_current_xact_id(), r.space_id, $2, $3, r.record_id, 'delete', r.row, $4,
             $5, $6, r.version
             from (select to_jsonb(x.*) as row, perch.row_id(%1$s, to_jsonb(x.*), %2$L) as record_id, %3$s as space_id,
                 case when %6$L then concat(x.tableoid, '/', pg_relation_filenode(x.tableoid), x.ctid) end as version
               from %4$s x
                    where %5$L::oid[] is null or x.tableoid = any (%5$L::oid[])) r
            where octet_length(r.space_id) between 1 and 256 and r.record_id is not null$sql$,
      tg_relid, tg_argv[4:],
      case tg_argv[2] when 'constant' then format('%L::text', tg_argv[3])
                      when 'expression' then format('perch.try_space(%L, %s, to_jsonb(x.*))', tg_argv[3], root::oid)
                      else format(
                        'case when to_jsonb(x.*) ? %1$L then to_jsonb(x.*) ->> %1$L '
                        'else perch.renamed_space(%2$s, to_jsonb(x.*)) end', tg_argv[3], root::oid) end,
      -- A partition is read by way of the table, on which perch_owner has the right to.
      root, case when tg_relid <> root then array(select t.relid::oid from pg_partition_tree(tg_relid) t) end,
      -- As perch.capture_row notes them.
      exists (select from pg_trigger t where t.tgrelid = root and t.tgname = 'perch_capture'))
      using nextval('perch.capture_ordinal'), tg_argv[0], tg_argv[1],
        left(nullif(current_setting('app.current_user_id', true), ''), 255),
            left(nullif(current_setting('perch.push_client_id', true), ''), 256), clock_timestamp();
    get diagnostics captured = row_count;
    if captured > 0 then
      perform perch.notify_captured();
    end if;
  end if;
  perform perch.unpin_settings(session_settings);
  return null;
end
$$;

comment on function perch.capture_truncated() is
  'Private. Trigger of synced tables, before they are emptied: every row of theirs is deleted.';
