-- Asked when it is registered, and again before every call: its owner may alter it at any time. A function with the
-- rights of its caller would run with those of perch_owner.
create or replace function perch.mutator_fault(function oid)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when p.oid is null then 'there is no such function'
    when (p.prokind = 'f' and not p.proretset and p.proargtypes[0] = 'jsonb'::regtype and p.pronargs = 1
      and p.prorettype = 'jsonb'::regtype) is not true
      then 'it is not a function from jsonb to jsonb'
    when not p.prosecdef then 'it is not SECURITY DEFINER: it would run with the rights of perch_owner'
    when not exists (select from unnest(p.proconfig) c where starts_with(c, 'search_path='))
      then 'its search_path is not pinned: whoever calls it would choose what its names mean'
    when r.rolsuper then 'its owner is a superuser'
    when r.rolname in ('perch_owner', 'perch_worker') then format('its owner is %s, not a role of the app', r.rolname)
    end
    from (select mutator_fault.function) f (oid)
    left join pg_proc p on p.oid = f.oid
    left join pg_roles r on r.oid = p.proowner
$$;

comment on function perch.mutator_fault(oid) is
  'Private. Why a function cannot be a mutator; null when it can.';
