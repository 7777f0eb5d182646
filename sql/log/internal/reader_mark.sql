create or replace function perch.reader_mark(reader text)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  return (select perch.entry_mark(r.registered_at) from perch.readers r where r.reader = reader_mark.reader);
end
$$;

comment on function perch.reader_mark(text) is
  'Private. What identifies the apps that a reader of a service has been reading: another, when it was taken away and came back, or reads others.';
