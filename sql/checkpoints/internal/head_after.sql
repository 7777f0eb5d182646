-- Volatile, so that it sees what the transaction committed for whose lock the caller has waited.
create or replace function perch.head_after(tenant_id text, thread_no bigint, head_id uuid, id uuid)
returns uuid
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  perform from perch.stored_checkpoints c
    where c.tenant_id = head_after.tenant_id and c.thread_no = head_after.thread_no and c.id = head_after.head_id
      and c.parent_id = head_after.id;
  if not found then
    perform from perch.stored_checkpoints c
      where c.tenant_id = head_after.tenant_id and c.thread_no = head_after.thread_no and c.id = head_after.id;
  end if;
  return case when found then head_after.head_id else head_after.id end;
end
$$;

comment on function perch.head_after(text, bigint, uuid, uuid) is
  'Private. The head of a LangGraph thread once a checkpoint is put: that one, unless it is only the parent of the head, which arrived late, or one that is written again.';
