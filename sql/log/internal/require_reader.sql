-- Default deny: who was not registered reads nothing, whoever asks. A role that is named is the only one that may,
-- with its members; a superuser is a member of every role.
create or replace function perch.require_reader(reader text)
returns text[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  known perch.readers;
begin
  select r.* into known from perch.readers r where r.reader = require_reader.reader;
  if known.reader is null or known.login is not null and not (
    known.login = session_user or exists (
      select from pg_roles o where o.rolname = known.login and pg_has_role(session_user, o.oid, 'MEMBER')))
  then
    perform perch.fail('PE403', 'this reader may not read here',
      jsonb_build_object('reader', left(require_reader.reader, 64)),
      'A DBA lets a service read: select perch.register_reader(reader => …, app_ids => …).');
  end if;
  if not exists (
    select from pg_trigger t
     where t.tgrelid = 'perch.space_heads'::regclass and t.tgname = 'note_commit' and t.tgenabled in ('O', 'A'))
  then
    perform perch.fail('PE404', 'in this database nothing is noted for readers',
      jsonb_build_object('reader', known.reader),
      'Let a DBA call perch.register_reader once more, or perch migrate up; then take a snapshot.');
  end if;
  -- For the record of who reads; once a minute, so that it is no load. Above read committed the row may be newer than
  -- the snapshot, and reading would fail for it.
  if current_setting('transaction_read_only') <> 'on' and current_setting('transaction_isolation') like 'read %' then
    update perch.readers r set last_read_at = clock_timestamp(), last_read_by = session_user
     where r.reader = (
       select x.reader from perch.readers x
        where x.reader = known.reader
          and (x.last_read_at > clock_timestamp() - interval '1 minute' and x.last_read_by = session_user) is not true
        for no key update skip locked);
  end if;
  return known.app_ids;
end
$$;

comment on function perch.require_reader(text) is
  'Private. The apps that a reader of a service may read. Errors: PE403 when it is not registered, or for another login; PE404 when nothing is noted for it.';
