-- See perch.capture_statement; row by row, of partitioned tables and of those of which replication's appliers are
-- captured, too (perch.make_sync_triggers). Postgres copies a trigger of rows to every partition, also to one that is
-- attached later, and fires it once, whether the statement named the table or the partition. A row that goes to another
-- partition is deleted in the one and inserted in the other, in this order. The key of a partitioned table is checked
-- row by row (perch.check_sync_options), so what was done to a key in this order can be done again in this order; where
-- that of another is not, perch.mend_order takes all that the transaction did to it together.
create or replace function perch.capture_row()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  session_settings constant jsonb := perch.pin_settings();
  before constant jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) end;
  behind constant jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) end;
  root constant oid := (select r.relation from perch.synced_relations r where r.app_id = tg_argv[0]
    and r.table_name = tg_argv[1]);
  old_id constant text := perch.row_id(tg_relid, before, tg_argv[4:]);
  new_id constant text := perch.row_id(tg_relid, behind, tg_argv[4:]);
  op_ids constant jsonb := nullif(current_setting('perch.push_op_ids', true), '')::jsonb
    -> concat(tg_argv[0], ' ', tg_argv[1]);
  taken constant bigint := nextval('perch.capture_ordinal');
  file constant text := concat(tg_relid, '/', pg_relation_filenode(tg_relid));
  old_version constant text := file || case when tg_op <> 'INSERT' then old.ctid end;
  new_version constant text := file || case when tg_op <> 'DELETE' then new.ctid end;
  spaces text[];
begin
  spaces := array(
    select case tg_argv[2] when 'constant' then tg_argv[3] when 'expression' then perch.try_space(tg_argv[3], root,
      r.row)
                           else case when r.row ? tg_argv[3] then r.row ->> tg_argv[3] else perch.renamed_space(root,
                             r.row) end end
      from (values (1, before), (2, behind)) r (nth, row) order by r.nth);
  if before is null then
    spaces[1] := null;
  elsif behind is null then
    spaces[2] := null;
  end if;
  insert into perch.captured_changes
    (ordinal, nth, txid, space_id, app_id, table_name, record_id, op, old_row, new_row, user_id, client_id, op_id,
      captured_at, old_version, new_version)
  select taken, row_number() over (), pg_current_xact_id(), e.space_id, tg_argv[0], tg_argv[1], e.record_id, e.op,
    e.old_row, e.new_row,
         left(nullif(current_setting('app.current_user_id', true), ''), 255),
         left(nullif(current_setting('perch.push_client_id', true), ''), 256), op_ids ->> e.record_id,
         clock_timestamp(), case when e.op <> 'insert' then old_version end,
         case when e.op <> 'delete' then new_version end
    from (
      select spaces[2] as space_id, new_id as record_id, 'update' as op, before as old_row, behind as new_row
       where spaces[1] = spaces[2] and old_id = new_id
      union all
      select spaces[1], old_id, 'delete', before, null where (spaces[1] = spaces[2] and old_id = new_id) is not true
      union all
      select spaces[2], new_id, 'insert', null, behind where (spaces[1] = spaces[2] and old_id = new_id) is not true) e
   where octet_length(e.space_id) between 1 and 256 and e.record_id is not null;
  if found then
    -- For those that are captured by statements.
    if pg_trigger_depth() > 1 or current_setting('perch.nested', true) <> '' then
      perform perch.place_nested(null, taken, pg_trigger_depth());
    end if;
    perform perch.notify_captured();
  end if;
  perform perch.unpin_settings(session_settings);
  return null;
end
$$;

comment on function perch.capture_row() is
  'Private. Trigger of synced tables that are partitioned, or captured always, behind each row that is written: adds it to what the sequencer gives numbers.';
