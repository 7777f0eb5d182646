-- As row_to_json of the columns as text would write it, in less time: one call of concat, which writes a value as its
-- type does, takes turns between values and the text that stands between two of them. That text depends on whether its
-- neighbours are null, and on nothing else, so it is chosen among constants. What no text of a type can have need not
-- be looked for. Very wide tables take the longer way.
create or replace function perch.row_message(relation regclass, names text[], keys text[], columns text[], headers text)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  -- Nothing that JSON, or a key, would have to escape.
  plain constant regtype[] := '{int2,int4,int8,float4,float8,numeric,uuid,date,time,timetz,timestamp,timestamptz}';
  -- Whether a backslash escapes in a literal is a setting of the session.
  quote constant text := chr(92) || '"';
  place constant text := format('"%s"."%s"', replace(replace(names[1], '/', '//'), '.', '..'),
    replace(replace(names[2], '/', '//'), '.', '..'));
  plain_columns constant text[] := array(
    select a.attname from pg_attribute a
     where a.attrelid = relation and a.atttypid = any (plain) and a.attnum > 0 and not a.attisdropped);
  truths constant text[] := array(
    select a.attname from pg_attribute a where a.attrelid = relation and a.atttypid = 'bool'::regtype and a.attnum > 0);
  never_null constant text[] := array(
    select a.attname from pg_attribute a where a.attrelid = relation and a.attnotnull and a.attnum > 0);
  ending constant text := ',"headers":' || headers || '}';
  parts text[];
  -- What stands behind the last value, and when that is null.
  behind text;
  behind_null text;
  last_value text;
begin
  if keys <@ plain_columns then
    select array_agg(part order by k.nth, which), quote || '","value":'
      into parts, behind
      from unnest(keys) with ordinality k (name, nth)
     cross join lateral (values
       (1, quote_literal(case k.nth when 1 then '{"key":' || left(to_json(place || '/"')::text, -1)
         else quote || '/' || quote end)),
       (2, format('perch_row.%I', k.name))) p (which, part);
  else
    parts := array[$q$'{"key":'$q$, (
      select format('to_json(%L%s)', place,
               string_agg(format($f$ || '/"' || replace(perch_row.%I::text, '/', '//') || '"'$f$, k.name), ''
                 order by k.nth))
        from unnest(keys) with ordinality k (name, nth))];
    behind := ',"value":';
  end if;
  if cardinality(columns) > 100 then
    parts := parts || quote_literal(behind) || format('(select row_to_json(perch_value) from (select %s) perch_value)',
      (select string_agg(format('perch_row.%1$I::text as %1$I', c), ', ') from unnest(columns) c));
    behind := '';
  else
    behind := behind || '{';
    for n in 1..cardinality(columns) loop
      declare
        is_plain constant boolean := columns[n] = any (plain_columns);
        value constant text := format('perch_row.%I', columns[n]);
        opening constant text := case when n > 1 then ',' else '' end || to_json(columns[n])::text || ':';
        opened constant text := opening || case when is_plain then '"' else '' end;
        is_null constant text := case when columns[n] <> all (never_null) then value || ' is null' end;
        between_two text := quote_literal(behind || opened);
      begin
        if is_null is not null then
          between_two := format('case when %s then %L else %L end', is_null, behind || opening || 'null',
            behind || opened);
        end if;
        if last_value is not null then
          between_two := format('case when %s then %s else %s end', last_value,
            case when is_null is not null then format('case when %s then %L else %L end', is_null,
              behind_null || opening || 'null', behind_null || opened)
            else quote_literal(behind_null || opened) end, between_two);
        end if;
        parts := parts || between_two || case when is_plain then value
          when columns[n] = any (truths)
            then format($f$case when %1$s then '"true"' when not %1$s then '"false"' end$f$, value)
          else format('to_json(%s::text)', value) end;
        behind := case when is_plain then '"' else '' end;
        behind_null := '';
        last_value := case when is_plain then is_null end;
      end;
    end loop;
    behind := behind || '}';
    behind_null := '}';
  end if;
  behind := behind || ending;
  behind_null := behind_null || ending;
  if last_value is not null then
    parts := parts || format('case when %s then %L else %L end', last_value, behind_null, behind);
  else
    parts := parts || quote_literal(behind);
  end if;
  -- A function takes 100 arguments.
  return (select string_agg(format('concat(%s)', part), ' || ' order by nth)
            from (select (nth - 1) / 100 as nth, string_agg(p.part, ', ' order by p.nth) as part
                    from unnest(parts) with ordinality p (part, nth) group by 1) c);
end
$$;

comment on function perch.row_message(regclass, text[], text[], text[], text) is
  'Private. The text of a message about a row perch_row of a table (names: its schema and name): {"key": …, "value": {…}, "headers": …}.';
