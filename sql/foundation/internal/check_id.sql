create or replace function perch.check_id(id text, what text, max_bytes integer default 256)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if id is null or id = '' then
    perform perch.fail('PE422', format('%s is missing', what), jsonb_build_object('argument', what),
      format('Pass %s, of 1 to %s bytes.', what, max_bytes));
  end if;
  if octet_length(id) > max_bytes then
    perform perch.fail('PE413', format('%s is longer than %s bytes', what, max_bytes),
      jsonb_build_object('limit', what || '_bytes', 'max', max_bytes, 'got', octet_length(id)));
  end if;
  if id ~ E'[\\x01-\\x1f\\x7f]' then
    perform perch.fail('PE422', format('%s contains a control character', what), jsonb_build_object('argument', what),
      'Leave characters below U+0020, and U+007F, out of ids.');
  end if;
  return id;
end
$$;
grant execute on function perch.check_id to perch_worker;

comment on function perch.check_id(text, text, integer) is
  'Private. Returns the id when it is a usable one: not empty, at most max_bytes bytes (PE413), no control characters (PE422).';
