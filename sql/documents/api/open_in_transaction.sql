-- Lock order: the lock on the document, then its row (docs/architecture.md, "The order of locks").
--
-- All that a DocumentStore asks before it calls its engine, in one round trip: who is there, whether they may, the
-- locks, and what their copy of the document lacks.
--
-- Volatile, so that each statement here sees what was committed when it begins: what a writer reads behind the locks is
-- the newest there is, and stays so until it commits. Positions and updates are read by one statement: they belong
-- together.
create or replace function perch.open_in_transaction(
  app_id text, table_name text, record_id text, space_id text, to_write boolean, known_spaces text[],
    known_seqs bigint[],
  known_revisions bigint[] default null
)
returns table (
  user_id text, in_space text, transaction text, wrote boolean, declared text, is_there boolean, projected boolean,
  after_seq bigint, snapshot bytea, snapshot_seq bigint, seqs bigint[], updates bytea[], head_seq bigint,
    incarnation_seq bigint, ended jsonb,
  snapshot_revision bigint, revisions bigint[], head_revision bigint, waiting boolean
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
  space constant text := perch.require_space(open_in_transaction.space_id, to_write => open_in_transaction.to_write);
  declared_fields constant text := perch.document_fields(open_in_transaction.app_id,
    open_in_transaction.table_name)::text;
  known constant bigint := known_seqs[array_position(known_spaces, space)];
  known_revision constant bigint := known_revisions[array_position(known_spaces, space)];
  -- The backend and the microsecond it began in: no two transactions have both in common.
  began constant text := pg_backend_pid() || ' ' || extract(epoch from transaction_timestamp());
  has_written constant boolean := pg_current_xact_id_if_assigned() is not null;
  relation perch.synced_relations;
  usable text;
  is_waiting boolean := false;   -- whether something that was written to its columns is not merged
  held boolean;
  is_newest boolean := false;    -- whether the caller has all there is
  locked perch.documents;
begin
  if perch.catches_undone() then
    begin
      return query select * from perch.open_in_transaction(app_id, table_name, record_id, space_id, to_write,
        known_spaces, known_seqs, known_revisions);
      return;
    exception when serialization_failure then
      perform perch.fail_undone(sqlerrm);
    end;
  end if;
  -- Assigned rather than performed, which would start an executor for each.
  usable := perch.check_id(open_in_transaction.record_id, 'record_id');
  relation := perch.document_relation(open_in_transaction.app_id, open_in_transaction.table_name);
  if relation.relation is not null then
    perform perch.require_in_sight(relation, space, open_in_transaction.record_id);
  end if;
  if open_in_transaction.to_write then
    if relation.relation is not null then
      perform perch.require_row_document(space, open_in_transaction.app_id, open_in_transaction.table_name,
        open_in_transaction.record_id);
      -- Before the document: the columns are written in the same transaction.
      perform perch.lock_row(relation, open_in_transaction.record_id);
      -- Who was waited for may have moved it out of sight.
      perform perch.require_in_sight(relation, space, open_in_transaction.record_id);
      is_waiting := exists (
        select from perch.column_writes w
         where w.space_id = space and w.app_id = open_in_transaction.app_id
           and w.table_name = open_in_transaction.table_name and w.record_id = open_in_transaction.record_id
           and w.placed is null);
    end if;
    -- This lock also covers the first write, when there is no document: of two transactions that make one the second
    -- waits here. Then the row, as every writer takes it: the tail does not grow until this transaction ends.
    held := perch.take_document_lock(
      space, open_in_transaction.app_id, open_in_transaction.table_name, open_in_transaction.record_id,
        purpose => 'write', wait => true);
    select d.* into locked from perch.documents d
     where d.space_id = space and d.app_id = open_in_transaction.app_id
       and d.table_name = open_in_transaction.table_name and d.record_id = open_in_transaction.record_id
       for no key update;
    -- The usual case: nobody but the caller has written since they looked, so there is nothing more to read.
    for nth in 1 .. coalesce(cardinality(known_spaces), 0) loop
      is_newest := is_newest or (known_spaces[nth] = space and known_seqs[nth] = locked.merged_seq
        and (known_revisions is null or known_revisions[nth] = locked.revision)) is true;
    end loop;
    if is_newest then
      return query select perch.current_user_id(), space, began, has_written, declared_fields, true,
        locked.projected_seq = locked.merged_seq, locked.merged_seq, null::bytea, 0::bigint, '{}'::bigint[],
        '{}'::bytea[], locked.merged_seq, locked.incarnation_seq, '{}'::jsonb, 0::bigint, '{}'::bigint[],
        locked.revision, is_waiting;
      return;
    end if;
  end if;

  if known is not null then
    return query
      select perch.current_user_id(), space, began, has_written, declared_fields, true, d.projected_seq = d.merged_seq,
             known, null::bytea, 0::bigint, coalesce(u.seqs, '{}'), coalesce(u.updates, '{}'), d.merged_seq,
               d.incarnation_seq, '{}'::jsonb,
             0::bigint, coalesce(u.revisions, '{}'), d.revision, is_waiting
        from perch.documents d
        left join lateral (
          select array_agg(x.seq order by x.seq) as seqs, array_agg(x.payload order by x.seq) as updates,
                 array_agg(x.revision order by x.seq) as revisions
            from perch.document_updates x
           where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
             and x.record_id = d.record_id
             and x.seq > known) u on true
       where d.space_id = space and d.app_id = open_in_transaction.app_id
         and d.table_name = open_in_transaction.table_name and d.record_id = open_in_transaction.record_id
         and perch.has_position(d, known, known_revision);
    if found then
      return;
    end if;
  end if;
  return query
    select perch.current_user_id(), space, began, has_written, declared_fields, d.space_id is not null,
      coalesce(d.projected_seq = d.merged_seq, false),
           null::bigint, l.snapshot, l.snapshot_seq, l.seqs, l.updates, l.head_seq,
             coalesce(d.incarnation_seq, l.head_seq), l.ended,
           l.snapshot_revision, l.revisions, l.head_revision, is_waiting
      from perch.load_document(space, open_in_transaction.app_id, open_in_transaction.table_name,
        open_in_transaction.record_id) l
      left join perch.documents d
        on d.space_id = space and d.app_id = open_in_transaction.app_id
       and d.table_name = open_in_transaction.table_name and d.record_id = open_in_transaction.record_id;
end
$$;
grant execute on function perch.open_in_transaction to perch_app;

comment on function perch.open_in_transaction(text, text, text, text, boolean, text[], bigint[], bigint[]) is
  'For DocumentStore: what it has to know of a document before it reads, or (to_write) writes it, in which case the document is locked as by perch.lock_document, and its row as every writer does. known_seqs and known_revisions: positions at which the caller has the document, and what identifies them (null: only the numbers are compared), for each of known_spaces; of several in one space the first is committed for certain, the others may be. Returns who asks, whether the transaction has written, the declared fields, whether the document is there and its record shows its latest position, and either what came after the known position (after_seq) or the whole (after_seq null), as perch.load_document; waiting: whether something that was written to its columns (of a synced table) is not merged yet. Errors: PE401, PE403, PE404 when the table is not declared, PE413, PE422.';
