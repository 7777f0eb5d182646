-- Lock order: the row of the document (docs/architecture.md, "The order of locks"). The row of the document is locked
-- from here until commit, so that its positions, too, are in commit order without gaps. The counting goes on after a
-- deletion (see document_tombstones).
create or replace function perch.next_position(space_id text, app_id text, table_name text, record_id text,
  user_id text)
returns bigint
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  taken bigint;
  deleted bigint;
begin
  update perch.documents d set head_seq = d.head_seq + 1
   where d.space_id = next_position.space_id and d.app_id = next_position.app_id
     and d.table_name = next_position.table_name and d.record_id = next_position.record_id
  returning d.head_seq into taken;
  if taken is not null then
    return taken;
  end if;

  select coalesce(max(t.seq), 0) into deleted from perch.document_tombstones t
   where t.space_id = next_position.space_id and t.app_id = next_position.app_id
     and t.table_name = next_position.table_name and t.record_id = next_position.record_id;
  insert into perch.documents as d (space_id, app_id, table_name, record_id, head_seq, merged_seq, projected_seq,
    snapshot_seq, tail_from, incarnation_seq, created_by)
  values (next_position.space_id, next_position.app_id, next_position.table_name, next_position.record_id,
          deleted + 1, deleted, deleted, deleted, deleted, deleted, next_position.user_id)
  on conflict on constraint documents_pkey do update set head_seq = d.head_seq + 1
  returning d.head_seq into taken;
  return taken;
end
$$;

comment on function perch.next_position(text, text, text, text, text) is
  'Private. Takes the next position of a document, making the document when it is not there.';
