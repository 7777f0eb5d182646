create or replace function perch.set_limit(name text, value bigint)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
  if (set_limit.name = any (perch.limit_names())) is not true then
    perform perch.fail('PE422', format('there is no limit %s', coalesce(set_limit.name, 'null')),
      jsonb_build_object('argument', 'name', 'expected', perch.limit_names(), 'got', set_limit.name));
  end if;
  if set_limit.value < 0 then
    perform perch.fail('PE422', 'a limit is not negative',
      jsonb_build_object('argument', 'value', 'got', set_limit.value),
      'Give 0 or more; null goes back to perch''s own.');
  end if;
  -- Before the row, as the trigger would take it behind it: see perch.bake_limits.
  lock table perch.limits in share row exclusive mode;
  if set_limit.value is null then
    delete from perch.limits l where l.name = set_limit.name;
  else
    insert into perch.limits as l (name, value) values (set_limit.name, set_limit.value)
    on conflict on constraint limits_pkey do update set value = excluded.value, set_at = clock_timestamp();
  end if;
end
$$;

comment on function perch.set_limit(text, bigint) is
  'For the DBA: sets a limit for everybody, from the commit on; null: back to perch''s own. The names are those of the limits in the documentation, and stand in the DETAIL of the error for an unknown one. Bytes, milliseconds or hours, as the name says. A session can make a limit narrower for itself (set perch.<name>), and never wider. Errors: PE422. Example: select perch.set_limit(name => ''max_change_bytes'', value => 2097152);';
