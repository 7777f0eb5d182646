-- A deletion logs at once, so it takes the counter of its space: then all documents, and all counters, are taken before
-- anything is written, in the order of every writer.
create or replace function perch.push_documents(changes perch.change[], app_id text, client_id text, results jsonb[])
returns jsonb[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  change perch.change;
  taken bigint;
  answer jsonb;
  code text;
  message text;
  details text;
begin
  if exists (select from unnest(changes) c where c.op = 'delete') then
    perform from perch.documents d
       join (select distinct c.space_id, c.table_name, c.record_id from unnest(changes) c) c
         on d.space_id = c.space_id and d.app_id = push_documents.app_id and d.table_name = c.table_name and d.record_id = c.record_id
      order by d.space_id, d.table_name, d.record_id
        for update of d;
    perform perch.lock_heads(array(select c.space_id from unnest(changes) c where c.op = 'delete'));
  end if;

  foreach change in array changes loop
    begin
      if change.op = 'delete' then
        perform perch.delete_document(push_documents.app_id, change.table_name, change.record_id, change.space_id);
        select t.seq into taken from perch.document_tombstones t
         where t.space_id = change.space_id and t.app_id = push_documents.app_id
           and t.table_name = change.table_name and t.record_id = change.record_id;
      else
        taken := perch.append_to_inbox(push_documents.app_id, change.table_name, change.record_id, change.space_id, 'patch',
          null, change.data, change.base_seq, push_documents.client_id, null);
      end if;
      answer := jsonb_build_object('space_id', change.space_id, 'seq', taken);
      update perch.push_receipts r set result = answer
       where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = change.op_id;
      answer := jsonb_build_object('op_id', change.op_id, 'status', 'applied') || answer;
    exception when sqlstate 'PE403' or sqlstate 'PE413' or sqlstate 'PE422' then
      get stacked diagnostics code = returned_sqlstate, message = message_text, details = pg_exception_detail;
      -- It may be tried again.
      delete from perch.push_receipts r
       where r.space_id = perch.personal_space_id(perch.current_user_id()) and r.op_id = change.op_id;
      answer := jsonb_build_object('op_id', change.op_id, 'status', 'rejected', 'space_id', change.space_id, 'seq', null,
        'error', jsonb_build_object('code', code, 'message', message, 'detail', details::jsonb));
    end;
    results[change.position] := answer;
  end loop;
  return results;
end
$$;

comment on function perch.push_documents(perch.change[], text, text, jsonb[]) is
  'Private. Passes changes of document tables on, as patches for the worker, or deletes the document; adds their results, whose seq is the position of the document.';
