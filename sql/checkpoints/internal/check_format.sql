create or replace function perch.check_format(thread_id text, found_format text, wanted_format text)
returns void
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if found_format <> wanted_format then
    perform perch.fail('PE422', 'this thread holds checkpoints of another kind',
      jsonb_build_object('thread_id', check_format.thread_id, 'format', found_format),
      'A thread is written either with perch.put_checkpoint or by a LangGraph saver.');
  end if;
end
$$;

comment on function perch.check_format(text, text, text) is
  'Private. PE422 when a thread is of another format than the writer''s.';
