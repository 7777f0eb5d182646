-- Snapshots read the table as perch_owner.
create or replace function perch.open_table(relation regclass)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  class pg_class;
  hiding name;
begin
  select c.* into class from pg_class c where c.oid = open_table.relation;
  if not has_schema_privilege('perch_owner', class.relnamespace, 'USAGE') then
    begin
      perform perch.as_owner(relation, format('grant usage on schema %s to perch_owner',
        class.relnamespace::regnamespace));
    exception when insufficient_privilege then
      null;
    end;
    if not has_schema_privilege('perch_owner', class.relnamespace, 'USAGE') then
      perform perch.fail('PE422', format('perch_owner may not use the schema %s', class.relnamespace::regnamespace),
        jsonb_build_object('argument', 'relation'),
        format('Let its owner run: grant usage on schema %s to perch_owner', class.relnamespace::regnamespace));
    end if;
  end if;
  if not has_table_privilege('perch_owner', class.oid, 'SELECT') then
    perform perch.as_owner(relation, format('grant select on %s to perch_owner', relation));
  end if;
  select p.polname into hiding from pg_policy p
   where p.polrelid = class.oid and not p.polpermissive and p.polcmd in ('r', '*') and p.polroles && array[0::oid,
     'perch_owner'::regrole::oid] limit 1;
  if hiding is not null then
    perform perch.fail('PE422', format('the restrictive policy %s of %s hides rows from perch_owner', hiding, relation),
      jsonb_build_object('argument', 'relation', 'policy', hiding),
        'Let it be for the roles that it is about, not for public.');
  end if;
  if not exists (select from pg_policy p where p.polrelid = class.oid and p.polname = 'perch_reads') then
    -- Of no effect until the table has row level security.
    perform perch.as_owner(relation, format('create policy perch_reads on %s for select to perch_owner using (true)',
      relation));
  end if;
end
$$;

comment on function perch.open_table(regclass) is
  'Private. Lets perch_owner read a table, its owner''s row level security notwithstanding. PE422 where that is not in the owner''s hands.';
