-- Lock order: before the row of the document (docs/architecture.md, "The order of locks"). A row, not an advisory lock:
-- any login may take those, and reads in pg_locks which keys are in use; to lock a row one must be allowed to write it.
--
-- Why two never hold it at once: the row is there and locked, or one inserts it, and then everybody else waits at the
-- unique index (or, without waiting, takes it for held) until that transaction ends. If it was rolled back, or the row
-- tidied away meanwhile, the loop begins anew. A row that nobody has locked says nothing, so old ones go when another
-- is made.
create or replace function perch.take_document_lock(
  space_id text, app_id text, table_name text, record_id text, purpose text, wait boolean
)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  patience constant text := current_setting('lock_timeout');
begin
  loop
    if wait then
      perform from perch.document_locks l
        where l.space_id = take_document_lock.space_id and l.app_id = take_document_lock.app_id
          and l.table_name = take_document_lock.table_name
          and l.record_id = take_document_lock.record_id and l.purpose = take_document_lock.purpose
          for update;
    else
      perform from perch.document_locks l
        where l.space_id = take_document_lock.space_id and l.app_id = take_document_lock.app_id
          and l.table_name = take_document_lock.table_name
          and l.record_id = take_document_lock.record_id and l.purpose = take_document_lock.purpose
          for update skip locked;
    end if;
    if found then
      return true;
    end if;
    if not wait and exists (
      select from perch.document_locks l
       where l.space_id = take_document_lock.space_id and l.app_id = take_document_lock.app_id
         and l.table_name = take_document_lock.table_name
         and l.record_id = take_document_lock.record_id and l.purpose = take_document_lock.purpose)
    then
      return false;
    end if;

    begin
      if not wait then
        -- Somebody else may be inserting it: an INSERT cannot skip that, so it waits as short as can be.
        perform set_config('lock_timeout', '1', true);
      end if;
      insert into perch.document_locks (space_id, app_id, table_name, record_id, purpose)
      values (take_document_lock.space_id, take_document_lock.app_id, take_document_lock.table_name,
        take_document_lock.record_id, take_document_lock.purpose)
      on conflict do nothing;
      if found then
        perform set_config('lock_timeout', patience, true);
        delete from perch.document_locks l
         where l.ctid = any (array(
           select o.ctid from perch.document_locks o
            -- Told once, in a query of its own: no index is searched for what may be another time at each row.
            where o.created_at < (select clock_timestamp() - interval '1 hour')
            order by o.created_at limit 10 for update skip locked));
        return true;
      end if;
      perform set_config('lock_timeout', patience, true);
    exception when lock_not_available then
      -- The setting went back with everything else of this block.
      if wait then
        raise;
      end if;
      return false;
    end;
  end loop;
end
$$;
grant execute on function perch.take_document_lock to perch_worker;

comment on function perch.take_document_lock(text, text, text, text, text, boolean) is
  'Private. Takes the lock on a document for a purpose (write, merge), until the end of the transaction; also on one that does not exist. wait: whether to wait for whoever has it, as long as lock_timeout allows. False: somebody else has it.';
