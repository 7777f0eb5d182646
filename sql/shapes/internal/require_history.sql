create or replace function perch.require_history(spaces text[], "position" bigint)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  forgotten bigint;
begin
  select max(h.pruned_position) into forgotten from perch.space_heads h where h.space_id = any (spaces);
  if forgotten > require_history."position" then
    perform perch.fail('PE410', 'the log no longer has what came after this position',
      jsonb_build_object('position', require_history."position", 'forgotten', forgotten));
  end if;
end
$$;

comment on function perch.require_history(text[], bigint) is
  'Private. PE410 when entries behind a position were forgotten in one of the spaces.';
