-- What ORDER BY and the index of a primary key go by. Of a type that an extension brought (citext) an operator without
-- its schema would be looked for in pg_catalog alone, and found: of the text that it can be read as, in another order.
create or replace function perch.key_operator(type text, operator text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  with recursive bases as (
    select t.oid, t.typnamespace, t.typbasetype from pg_type t where t.oid = key_operator.type::regtype
    union all
    select t.oid, t.typnamespace, t.typbasetype from bases b join pg_type t on t.oid = b.typbasetype
  )
  select coalesce((
    select format('operator(%I.%s)', n.nspname, o.oprname)
      from bases b
      join pg_opclass c on c.opcintype = b.oid and c.opcdefault
      join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
      join pg_amop a
        on a.amopfamily = c.opcfamily and a.amoplefttype = b.oid and a.amoprighttype = b.oid
       and a.amopstrategy = array_position(array['<', '<=', '=', '>=', '>'], key_operator.operator)
      join pg_operator o on o.oid = a.amopopr
      join pg_namespace n on n.oid = o.oprnamespace
     where b.typbasetype = 0 and b.typnamespace <> 'pg_catalog'::regnamespace), key_operator.operator)
$$;

comment on function perch.key_operator(text, text) is
  'Private. The operator (<, <=, =, >= or >) by which values of a type are ordered, with its schema where that is not pg_catalog.';
