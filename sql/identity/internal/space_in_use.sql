-- Every table with a space_id counts, whichever are added later. Each is led by space_id, or small. perch.create_space
-- puts the space in the context first, so that the policies show what is in it; the tables that show nobody anything
-- have a policy for this.
create or replace function perch.space_in_use(space_id text)
returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  place regclass;
  used boolean;
begin
  for place in
    select c.oid from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'space_id'
      and not a.attisdropped
     where c.relnamespace = 'perch'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
     order by c.relname
  loop
    execute format('select exists (select from %s x where x.space_id = $1)',
      place) into used using space_in_use.space_id;
    if used then
      return true;
    end if;
  end loop;
  return false;
end
$$;

comment on function perch.space_in_use(text) is
  'Private. Whether anything at all is there under this space id: for perch.create_space, which puts the space in the context first.';
