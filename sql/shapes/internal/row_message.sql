-- As row_to_json of the columns as text would write it, in half the time: a row is not made again to be read as JSON,
-- and what no text of a type can have need not be looked for. Very wide tables take the longer way.
create or replace function perch.row_message(relation regclass, names text[], keys text[], columns text[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  -- Nothing that JSON, or a key, would have to escape.
  plain constant regtype[] := '{bool,int2,int4,int8,float4,float8,numeric,uuid,date,time,timetz,timestamp,timestamptz}';
  -- Whether a backslash escapes in a literal is a setting of the session.
  quote constant text := chr(92) || '"';
  place constant text := format('"%s"."%s"', replace(replace(names[1], '/', '//'), '.', '..'),
    replace(replace(names[2], '/', '//'), '.', '..'));
  plain_columns constant text[] := array(
    select a.attname from pg_attribute a
     where a.attrelid = relation and a.atttypid = any (plain) and a.attnum > 0 and not a.attisdropped);
  key text;
  fields text;
begin
  if keys <@ plain_columns then
    select format('%L || %s || %L', '{"key":' || left(to_json(place || '/"')::text, -1),
             string_agg(format('perch_row.%I::text', k.name), format(' || %L || ', quote || '/' || quote)
               order by k.nth), quote || '","value":')
      into key
      from unnest(keys) with ordinality k (name, nth);
  else
    select format($q$'{"key":' || to_json(%L%s)::text || ',"value":'$q$, place,
             string_agg(format($f$ || '/"' || replace(perch_row.%I::text, '/', '//') || '"'$f$, k.name), ''
               order by k.nth))
      into key
      from unnest(keys) with ordinality k (name, nth);
  end if;
  if cardinality(columns) > 100 then
    return format('%s || (select row_to_json(perch_value)::text from (select %s) perch_value)', key,
      (select string_agg(format('perch_row.%1$I::text as %1$I', c), ', ') from unnest(columns) c));
  end if;
  select string_agg(
           format('%L || ', case c.nth when 1 then '{' else ',' end || to_json(c.name)::text || ':')
           || format(
                case when c.name = any (plain_columns) then $q$coalesce('"' || perch_row.%I::text || '"', 'null')$q$
                else $q$coalesce(to_json(perch_row.%I::text)::text, 'null')$q$ end, c.name), ' || ' order by c.nth)
    into fields
    from unnest(columns) with ordinality c (name, nth);
  return format($q$%s || %s || '}'$q$, key, fields);
end
$$;

comment on function perch.row_message(regclass, text[], text[], text[]) is
  'Private. The text of a message about a row perch_row of a table (names: its schema and name), up to its headers: {"key": …, "value": {…}.';
