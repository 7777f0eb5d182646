create or replace function perch.field_kinds()
returns text[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select '{string,number,integer,boolean,datetime,json,text,list,movable_list,tree,counter,map}'::text[]
$$;

comment on function perch.field_kinds() is 'Private. The kinds that a field of a document may have.';
