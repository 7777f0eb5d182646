-- Citus makes on its other nodes what is made here, where it knows how: of what perch makes for itself it would make
-- parts there, or fail. Triggers, policies and grants of a table that it manages it has to pass on, so this is not
-- for them.
create or replace function perch.keep_ddl_here()
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  setting constant text := 'citus.enable_ddl_propagation';
  before constant text := current_setting(setting, true);
begin
  if before is null or not exists (select from pg_extension e where e.extname = 'citus') then
    return '{}';
  end if;
  perform set_config(setting, 'off', true);
  return jsonb_build_object(setting, before);
end
$$;

comment on function perch.keep_ddl_here() is
  'Private. On a node of Citus: what is created and dropped from here on is so on this node alone, until perch.unpin_settings of what is returned, or the end of the transaction. Elsewhere: nothing.';
