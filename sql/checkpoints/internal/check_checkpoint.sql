create or replace function perch.check_checkpoint(thread_id text, state jsonb, step bigint, next_node text,
  schema_version integer, metadata jsonb)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  argument text;
begin
  perform perch.check_id(check_checkpoint.thread_id, 'thread_id');
  argument := case
    when check_checkpoint.state is null then 'state'
    when check_checkpoint.step is null then 'step'
    when check_checkpoint.schema_version is null or check_checkpoint.schema_version < 0 then 'schema_version'
    when jsonb_typeof(check_checkpoint.metadata) <> 'object' then 'metadata'
  end;
  if argument is not null then
    perform perch.fail('PE422', format('%s is missing or of no use', argument),
      jsonb_build_object('argument', argument),
      'Pass a JSON object, as LangGraph makes it.');
  end if;
  if check_checkpoint.next_node is not null then
    perform perch.check_id(check_checkpoint.next_node, 'next_node', 1024);
  end if;
end
$$;

comment on function perch.check_checkpoint(text, jsonb, bigint, text, integer, jsonb) is
  'Private. PE422 for a checkpoint that cannot be stored.';
