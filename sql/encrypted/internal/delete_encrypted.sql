-- Lock order: the row of the document (docs/architecture.md, "The order of locks"); what hangs on it is written by
-- nobody who does not hold it.
--
-- An editor without the key can write nothing that takes a word from anybody who has it; so they cannot delete it all,
-- either. Deletion is the right of those who own the space, and of whoever alone wrote what there is. That is asked
-- with the row in hand: nobody adds to it.
--
-- Of what earlier incarnations had, so many peers are remembered: each writer reads them.
create or replace function perch.delete_encrypted(space_id text, app_id text, table_name text, record_id text)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  max_ended constant integer := 65536;
  ended_at bigint;
begin
  perform from perch.encrypted_documents d
    where d.space_id = delete_encrypted.space_id and d.app_id = delete_encrypted.app_id
      and d.table_name = delete_encrypted.table_name and d.record_id = delete_encrypted.record_id
      for no key update;
  if not found then
    return;
  end if;
  if delete_encrypted.space_id is distinct from perch.personal_space_id(perch.current_user_id())
     and not perch.owns_space(delete_encrypted.space_id)
     and exists (
       select from perch.encrypted_records x
        where x.space_id = delete_encrypted.space_id and x.app_id = delete_encrypted.app_id
          and x.table_name = delete_encrypted.table_name and x.record_id = delete_encrypted.record_id
          and x.user_id <> perch.current_user_id())
  then
    perform perch.fail('PE403', 'an encrypted document that others have written to is deleted by an owner of its space',
      jsonb_build_object('space_id', delete_encrypted.space_id),
      'Ask an owner of the space to delete it.');
  end if;
  update perch.encrypted_documents d
     set head_seq = d.head_seq + 1, incarnation_seq = d.head_seq + 1, stored_bytes = 0, revision = 0, replaced = '{}',
         ended = perch.merge_ends((
           select coalesce(json_object_agg(k.key, k.value), '{}')::jsonb
             from (select * from jsonb_each(d.ended) limit max_ended) k), (
           select coalesce(jsonb_object_agg(p.peer, p.counter), '{}')
             from (select e.peer, max(e.counter) as counter
                     from (select encode(x.peer_id, 'hex') as peer, x.next as counter
                             from perch.encrypted_records x
                            where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
                              and x.record_id = d.record_id and x.version is null
                           union all
                           select v.key, v.value::bigint
                             from perch.encrypted_records x cross join lateral jsonb_each_text(x.version) v
                            where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
                              and x.record_id = d.record_id and x.version is not null) e
                    group by e.peer) p))
   where d.space_id = delete_encrypted.space_id and d.app_id = delete_encrypted.app_id
     and d.table_name = delete_encrypted.table_name and d.record_id = delete_encrypted.record_id
  returning d.incarnation_seq into ended_at;
  delete from perch.encrypted_records x
   where x.space_id = delete_encrypted.space_id and x.app_id = delete_encrypted.app_id
     and x.table_name = delete_encrypted.table_name and x.record_id = delete_encrypted.record_id;
  delete from perch.encrypted_reaches x
   where x.space_id = delete_encrypted.space_id and x.app_id = delete_encrypted.app_id
     and x.table_name = delete_encrypted.table_name and x.record_id = delete_encrypted.record_id;
  perform pg_notify('perch_documents', perch.document_notification(
    delete_encrypted.space_id, delete_encrypted.app_id, delete_encrypted.table_name, delete_encrypted.record_id,
      ended_at));
end
$$;

comment on function perch.delete_encrypted(text, text, text, text) is
  'Private. Deletes an encrypted document, for perch.delete_document: its records go, its positions go on, and the operations it had are refused if they come again. Errors: PE403 for who neither owns the space nor wrote all of it.';
