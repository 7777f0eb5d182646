-- A type is looked into as deep as it goes: what a domain is over, the elements of an array, the columns of a composite
-- type, the bounds of a range.
create or replace function perch.inexact_type(type oid)
returns regtype
language sql stable
set search_path = pg_catalog, pg_temp
return (
  with recursive parts (oid) as (
    select inexact_type.type
    union
    select i.oid
      from parts p
      join pg_type t on t.oid = p.oid
     cross join lateral (
       select t.typbasetype
       union all
       select t.typelem
       union all
       select r.rngsubtype from pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
       union all
       select a.atttypid from pg_attribute a
        where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped) i (oid)
     where i.oid <> 0
  )
  select p.oid::regtype from parts p where p.oid = any ('{money,json}'::regtype[]) order by p.oid limit 1);
grant execute on function perch.inexact_type to perch_worker;

comment on function perch.inexact_type(oid) is
  'Private. money or json, where a type is one of them or has it inside: what is not captured exactly, or not at all; else null.';
