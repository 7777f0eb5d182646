create or replace function perch.append_to_inbox(
  app_id text, table_name text, record_id text, space_id text,
  kind text, payload bytea, patch jsonb, base_seq bigint, client_id text, op_id text, base_revision bigint default null,
  out seq bigint, out revision bigint
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  author constant text := perch.current_user_id();
  replayed jsonb;
  document perch.documents;
  relation perch.synced_relations;
begin
  if append_to_inbox.op_id is not null then
    replayed := perch.claim_receipt(append_to_inbox.op_id, sha256(convert_to(perch.plain_numbers(
      jsonb_build_array(append_to_inbox.kind, space_id, app_id, table_name, record_id, encode(payload, 'base64'), patch,
        base_seq)::text), 'UTF8')));
    if replayed is not null then
      seq := replayed ->> 'seq';
      revision := replayed ->> 'revision';
      return;
    end if;
  end if;

  relation := perch.document_relation(append_to_inbox.app_id, append_to_inbox.table_name);
  if relation.relation is not null then
    perform perch.require_in_sight(relation, append_to_inbox.space_id, append_to_inbox.record_id);
    perform perch.require_row_document(append_to_inbox.space_id, append_to_inbox.app_id, append_to_inbox.table_name,
      append_to_inbox.record_id);
  end if;
  seq := perch.next_position(append_to_inbox.space_id, append_to_inbox.app_id, append_to_inbox.table_name,
    append_to_inbox.record_id, author);
  if append_to_inbox.base_seq < 0 then
    perform perch.fail('PE422', 'base_seq is not a position of this document',
      jsonb_build_object('argument', 'base_seq', 'expected', '0 or more', 'got', append_to_inbox.base_seq));
  elsif append_to_inbox.base_seq >= seq then
    perform perch.position_gone(append_to_inbox.space_id, 'base_seq', append_to_inbox.base_seq, seq - 1);
  elsif append_to_inbox.base_revision is not null then
    -- Asked here and not when it is merged: inbox and tail go back together. Of a base that is folded away the worker
    -- says so.
    select d.* into document from perch.documents d
     where d.space_id = append_to_inbox.space_id and d.app_id = append_to_inbox.app_id
       and d.table_name = append_to_inbox.table_name and d.record_id = append_to_inbox.record_id;
    if not perch.has_base(document, append_to_inbox.base_seq, append_to_inbox.base_revision) then
      perform perch.position_gone(append_to_inbox.space_id, 'base_seq', append_to_inbox.base_seq, document.merged_seq);
    end if;
  end if;
  revision := perch.new_revision();
  insert into perch.document_inbox
    (space_id, app_id, table_name, record_id, seq, kind, payload, patch, base_seq, user_id, client_id, op_id, revision)
  values (append_to_inbox.space_id, append_to_inbox.app_id, append_to_inbox.table_name, append_to_inbox.record_id, seq,
          append_to_inbox.kind, append_to_inbox.payload, append_to_inbox.patch, append_to_inbox.base_seq, author,
          append_to_inbox.client_id, append_to_inbox.op_id, revision);

  if append_to_inbox.op_id is not null then
    update perch.push_receipts r set result = jsonb_build_object('seq', append_to_inbox.seq, 'revision',
      append_to_inbox.revision)
     where r.space_id = perch.personal_space_id(author) and r.op_id = append_to_inbox.op_id;
  end if;
end
$$;

comment on function perch.append_to_inbox(text, text, text, text, text, bytea, jsonb, bigint, text, text, bigint) is
  'Private. Appends a checked update or patch of the current user to a document, for the worker to merge; returns its position, and what identifies that.';
