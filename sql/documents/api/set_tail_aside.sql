-- What an engine stored was decoded on top of what is before it, so a tail that does not hold together is the work of
-- somebody else: rows deleted or written by hand, a faulty disk. The document goes on at the last position that holds.
-- What is behind it goes to the inbox, from where a worker merges it again, update by update: what holds by itself is
-- back in the tail at once, and what does not is set aside with its error, like any push that cannot be merged
-- (perch.retry_update, perch.discard_update). Nothing is deleted.
--
-- The row of the document is locked, as by every writer. The first update behind the position is compared: of several
-- who noticed, one acts. Positions are not given out again. Nodes and readers who are beyond the position are ahead of
-- the document from then on, and are told so.
create or replace function perch.set_tail_aside(
  space_id text, app_id text, table_name text, record_id text, after_seq bigint, first_seq bigint, first_revision bigint
)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  document perch.documents;
  moved bigint;
begin
  select d.* into document from perch.documents d
   where d.space_id = set_tail_aside.space_id and d.app_id = set_tail_aside.app_id
     and d.table_name = set_tail_aside.table_name and d.record_id = set_tail_aside.record_id
     for no key update;
  if not found or after_seq < document.snapshot_seq or not exists (
    select from perch.document_updates u
     where u.space_id = document.space_id and u.app_id = document.app_id
       and u.table_name = document.table_name and u.record_id = document.record_id
       and u.seq = first_seq and u.revision = first_revision and u.seq > after_seq)
  then
    return 0;
  end if;

  with gone as (
    delete from perch.document_updates u
     where u.space_id = document.space_id and u.app_id = document.app_id
       and u.table_name = document.table_name and u.record_id = document.record_id and u.seq > after_seq
    returning u.*
  )
  insert into perch.document_inbox
    (space_id, app_id, table_name, record_id, seq, kind, payload, user_id, client_id, actor, created_at)
  select g.space_id, g.app_id, g.table_name, g.record_id, g.seq, 'update', g.payload, g.user_id, g.client_id, g.actor,
    g.created_at
    from gone g;
  get diagnostics moved = row_count;

  update perch.documents d
     set merged_seq = after_seq, revision = coalesce(t.revision, 0), tail_count = t.updates, tail_bytes = t.bytes,
         projected_seq = least(d.projected_seq, greatest(d.incarnation_seq, after_seq - 1))
    from (select count(*) filter (where u.seq > document.snapshot_seq) as updates,
                 coalesce(sum(octet_length(u.payload)) filter (where u.seq > document.snapshot_seq), 0) as bytes,
                 max(u.revision) filter (where u.seq = after_seq) as revision
            from perch.document_updates u
           where u.space_id = document.space_id and u.app_id = document.app_id
             and u.table_name = document.table_name and u.record_id = document.record_id) t
   where d.space_id = document.space_id and d.app_id = document.app_id
     and d.table_name = document.table_name and d.record_id = document.record_id;
  perform perch.enqueue_document(document.space_id, document.app_id, document.table_name, document.record_id);
  return moved;
end
$$;
grant execute on function perch.set_tail_aside to perch_worker;

comment on function perch.set_tail_aside(text, text, text, text, bigint, bigint, bigint) is
  'For perch_worker: takes the updates behind after_seq, the last position up to which a document holds together, out of its tail and into its inbox, to be merged again one by one. first_seq, first_revision: the first of them, as the caller read it. Returns how many; 0 when it is not there any more.';
