-- Few entries are ever withheld, so that reading such a one once more costs nobody much.
create or replace function perch.withheld(entry text, reason text, bytes bigint, max_bytes bigint)
returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
  if octet_length(entry) > max_bytes then
    entry := entry::jsonb || '{"data": null, "field_meta": {}}' || case
      when entry::jsonb ? 'actor' then '{"actor": null}'::jsonb else '{}' end;
  end if;
  return concat(left(entry, -1), ',"withheld":',
    case reason when 'too_large' then json_build_object('reason', reason, 'bytes', bytes, 'max', max_bytes)
      else json_build_object('reason', reason) end, '}');
end
$$;

comment on function perch.withheld(text, text, bigint, bigint) is
  'Private. A change or record, as JSON text, without its content and with why: {"withheld": {"reason": "too_large", "bytes", "max"}} or {"withheld": {"reason": "upgrade_failed"}}.';
