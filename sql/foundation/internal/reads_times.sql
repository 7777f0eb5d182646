create or replace function perch.reads_times(type oid)
returns boolean
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case t.typtype
           when 'd' then perch.reads_times(t.typbasetype)
           when 'c' then exists (
             select from pg_attribute a
              where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped and perch.reads_times(a.atttypid))
           when 'r' then (select perch.reads_times(r.rngsubtype) from pg_range r where r.rngtypid = t.oid)
           when 'm' then (select perch.reads_times(r.rngsubtype) from pg_range r where r.rngmultitypid = t.oid)
           else case when t.typsubscript = 'array_subscript_handler'::regproc then perch.reads_times(t.typelem)
                     else t.oid = any ('{date,time,timetz,timestamp,timestamptz}'::regtype[]) end end
    from pg_type t
   where t.oid = reads_times.type
$$;

comment on function perch.reads_times(oid) is
  'Private. Whether values of a type are dates or times, or have some in them: what is read of a text as such may name a time zone.';
