create or replace function perch.console_access(
  user_id text, space_id text, app_id text default null, table_name text default null, record_id text default null
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.require_console();
  return json_build_object(
    'personal', console_access.space_id = perch.personal_space_id(console_access.user_id),
    'others_personal', console_access.space_id like '~%'
      and console_access.space_id <> perch.personal_space_id(console_access.user_id),
    'created', exists (select from perch.spaces s where s.space_id = console_access.space_id),
    'seq', (select h.seq from perch.space_heads h where h.space_id = console_access.space_id),
    'members', exists (select from perch.space_members m where m.space_id = console_access.space_id),
    'role', perch.member_role(console_access.space_id, console_access.user_id),
    'reads', perch.may_read(console_access.space_id, console_access.user_id),
    'writes', perch.may_write(console_access.space_id, console_access.user_id),
    'kind', case when console_access.table_name is not null
      then perch.table_kind(console_access.app_id, console_access.table_name) end,
    'rules', (
      select json_build_object('row_filter', r.row_filter, 'columns', r.columns, 'column_roles', r.column_roles,
               'writable_columns', r.writable_columns)
        from perch.synced_relations r
       where r.app_id = console_access.app_id and r.table_name = console_access.table_name),
    'record', (
      select json_build_object('deleted', r.deleted, 'seq', r.seq, 'user_id', r.user_id)
        from perch.stored_records r
       where r.space_id = console_access.space_id and r.app_id = console_access.app_id
         and r.table_name = console_access.table_name and r.record_id = console_access.record_id),
    'waiting', (
      select count(*) from (
        select from perch.document_inbox i
         where i.space_id = console_access.space_id and i.app_id = console_access.app_id
           and i.table_name = console_access.table_name and i.record_id = console_access.record_id limit 1000) c));
end
$$;
grant execute on function perch.console_access to perch_worker;

comment on function perch.console_access(text, text, text, text, text) is
  'For perch_worker, of the console: what decides whether a user sees a space, or a record in it, by perch.space_members; what a token of theirs lists counts besides, and is not known here. Errors: PE401.';
