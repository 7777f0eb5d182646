-- Of arrays, ranges, JSON and composites it depends on what is in them; enumerations are the app's own
-- (perch.shape_columns).
create or replace function perch.plain_types()
returns text[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select '{bool,int2,int4,int8,float4,float8,numeric,text,varchar,bpchar,name,uuid,date,time,timetz,timestamp,
    timestamptz,interval,bytea,bit,varbit,inet,cidr,macaddr,macaddr8}'::text[]
$$;

comment on function perch.plain_types() is
  'Private. Types of Postgres'' own whose values can all be compared with each other.';
