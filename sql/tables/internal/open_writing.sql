-- What perch.push writes it writes as perch_owner (perch.apply_rows).
create or replace function perch.open_writing(relation regclass)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  sequence regclass;
begin
  if exists (select from unnest('{INSERT,UPDATE,DELETE}'::text[]) p where not has_table_privilege('perch_owner',
    relation, p)) then
    perform perch.as_owner(relation, format('grant insert, update, delete on %s to perch_owner', relation));
  end if;
  -- Of serial columns, whose default asks for it.
  for sequence in
    select d.objid::regclass
      from pg_depend d join pg_class c on c.oid = d.objid
     where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass
       and d.refobjid = open_writing.relation and d.deptype = 'a'
       and case when c.relkind = 'S' then not has_sequence_privilege('perch_owner', d.objid, 'USAGE') end
  loop
    perform perch.as_owner(sequence, format('grant usage on sequence %s to perch_owner', sequence));
  end loop;
end
$$;

comment on function perch.open_writing(regclass) is
  'Private. Lets perch_owner write a table, as far as its row level security lets the user of the context. PE422 where that is not in the owner''s hands.';
