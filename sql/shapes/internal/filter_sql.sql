-- The filter of a shape comes as a tree, never as SQL: ["=", left, right] and the like, made by whoever parsed what a
-- client wrote. Here the text is made that Postgres evaluates, of nothing but: words of the lists below, names of
-- columns that the table has, quoted, types of its columns as Postgres itself spells them, and literals, quoted.
-- So whatever the tree says, no other function, operator, cast or relation can be reached; a node that is not known is
-- an error. Every name resolves in pg_catalog, where no app's functions and operators are: the search_path of whoever
-- executes it is pinned.
--
-- What is listed is immutable under the settings that are pinned with it, touches nothing but its arguments, and makes
-- of them no more than they are (no repeat, no lpad, no generate_series). Products and the like, whose numbers grow,
-- and regular expressions are dear: a filter has a few of them at most.
--
-- A node is an array whose first item is the word that says which:
--   ["column", name]  ["value", text or null]  ["cast", node, type, array?]  ["call", name, [nodes]]
--   ["op", name, [one or two nodes]]  ["and"|"or"|"coalesce"|"greatest"|"least"|"array", [nodes]]  ["not", node]
--   ["is", what, node]  ["distinct", left, right]  ["any"|"all", operator, left, right]  ["in", node, [nodes]]
--   ["nullif", left, right]  ["case", [[condition, node]], node or null]  ["at", array or jsonb, index]
--   ["select", [nodes], schema, table, [columns], filter or null]: rows of another table (perch.filter_select)
--
-- context: of which moment such rows are, {"position", "snapshot"} (without them: now), and "positive": nothing but AND
-- and OR stands around, so that it makes no difference whether the node is false or null; "checked": it is part of what
-- perch.check_times has looked at.
--
-- A text that is not constant is read as a time only where it names no zone that was made up.
create or replace function perch.filter_sql(node jsonb, columns jsonb, depth integer, context jsonb)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  operators constant text[] := array['=', '<>', '!=', '<', '<=', '>', '>=', '+', '-', '*', '/', '%', '^', '|/', '@',
    '&', '|', '#', '<<', '>>', '||', '~~', '!~~', '~~*', '!~~*', '~', '~*', '!~', '!~*', '->', '->>', '#>', '#>>',
    '@>', '<@', '&&', '?', '?|', '?&', '-|-', '&<', '&>', '^@'];
  functions constant text[] := array['lower', 'upper', 'initcap', 'length', 'char_length', 'character_length',
    'octet_length', 'bit_length', 'btrim', 'ltrim', 'rtrim', 'substr', 'substring', 'left', 'right', 'reverse',
    'position', 'strpos', 'starts_with', 'split_part', 'replace', 'translate', 'concat', 'concat_ws', 'md5',
    'like', 'notlike', 'like_escape', 'similar_to_escape', 'regexp_like', 'ascii', 'to_hex',
    'abs', 'ceil', 'ceiling', 'floor', 'round', 'trunc', 'sign', 'mod', 'sqrt', 'power', 'div', 'gcd', 'lcm',
    'date_part', 'date_trunc', 'extract', 'timezone', 'make_date', 'overlaps', 'isfinite', 'date_bin',
    'justify_days', 'justify_hours', 'justify_interval', 'to_timestamp',
    'array_length', 'cardinality', 'array_position', 'array_ndims', 'array_lower', 'array_upper', 'array_append',
    'array_prepend', 'array_cat', 'array_remove', 'array_to_string', 'string_to_array',
    'jsonb_typeof', 'jsonb_array_length', 'jsonb_extract_path', 'jsonb_extract_path_text', 'jsonb_exists',
    'jsonb_exists_any', 'jsonb_exists_all', 'jsonb_contains', 'jsonb_strip_nulls', 'to_jsonb',
    'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'bool', 'text', 'date', 'time', 'timestamp', 'timestamptz',
    'interval', 'lower_inc', 'upper_inc', 'lower_inf', 'upper_inf', 'isempty', 'num_nulls', 'num_nonnulls'];
  types constant text[] := array['bool', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'text', 'varchar',
    'bpchar', 'name', 'uuid', 'date', 'time', 'timetz', 'timestamp', 'timestamptz', 'interval', 'bytea',
    'jsonb', 'bit', 'varbit', 'inet', 'cidr', 'macaddr', 'macaddr8', 'int4range', 'int8range', 'numrange', 'tsrange',
    'tstzrange', 'daterange'];
  word constant text := node ->> 0;
  is_part constant boolean := word <> all ('{column,value,and,or,not,is}');
  below constant jsonb := case when word in ('and', 'or') then context else context - 'positive' end
    || case when is_part then '{"checked": true}' else '{}' end::jsonb;
  parts text[];
  type text;
begin
  if depth > 60 then
    perform perch.fail('PE422', 'the filter is nested too deeply', jsonb_build_object('limit', 'filter_depth', 'max',
      60));
  end if;
  if is_part and not coalesce(context, '{}') ? 'checked' then
    perform perch.check_times(node, columns);
  end if;
  case
    when word = 'column' then
      if not columns ? (node ->> 1) then
        perform perch.fail('PE422', format('the table has no column %I that a filter may name', node ->> 1),
          jsonb_build_object('column', node ->> 1),
          'Name columns as the table has them (quoted, where they have capitals), and none that its rules hide.');
      end if;
      return format('perch_row.%I', node ->> 1);

    when word = 'value' and jsonb_typeof(node -> 1) in ('string', 'null') then
      return case when node -> 1 = 'null' then 'null' else quote_literal(node ->> 1) end;

    when word = 'cast' then
      type := case
        when node ->> 2 = any (types) then quote_ident(node ->> 2)
        -- An enumeration or a domain of the table's own: as Postgres spells it.
        else (select c.value ->> 'spelled' from jsonb_each(columns) c
               where node ->> 2 in (c.value ->> 'name', c.value ->> 'spelled') limit 1) end;
      if type is null then
        perform perch.fail('PE422', format('a filter may not cast to %s', left(node ->> 2, 100)),
          jsonb_build_object('type', left(node ->> 2, 100)),
          'Cast to a built-in type of numbers, text, times, uuid, jsonb or bool; docs/shapes.md lists them.');
      end if;
      return format(case when node -> 1 ->> 0 <> 'value' and perch.reads_times(to_regtype(type))
          and perch.reads_times(to_regtype(columns -> (node -> 1 ->> 1) ->> 'spelled')) is not true
          then '(perch.without_made_up_zone((%s)::text))::%s%s' else '(%s)::%s%s' end,
        perch.filter_sql(node -> 1, columns, depth + 1, below), type, case when (node -> 3)::boolean then '[]' end);

    -- The same, written as a function.
    when word = 'call' and node ->> 1 = any ('{date,time,timestamp,timestamptz}')
      and jsonb_array_length(node -> 2) = 1
    then
      return perch.filter_sql(jsonb_build_array('cast', node -> 2 -> 0, node ->> 1), columns, depth, below);

    when word = 'call' and node ->> 1 = any (functions) then
      return format('pg_catalog.%I(%s)', node ->> 1,
        array_to_string(perch.filter_list(node -> 2, columns, depth + 1, below), ', '));

    when word = 'op' and node ->> 1 = any (operators) and jsonb_array_length(node -> 2) in (1, 2) then
      if node ->> 1 = '-' and perch.gives_array(node -> 2 -> 1, columns) then
        -- Each key is sought in the whole list, and nothing stops that in the midst of one row.
        perform perch.fail('PE422', 'a filter may not take a list of keys out of jsonb',
          jsonb_build_object('part', '-'),
          'Take out one key at a time: - ''key''; or ask for those that may be there: ?|.');
      end if;
      parts := perch.filter_list(node -> 2, columns, depth + 1, below);
      return case cardinality(parts) when 1 then format('(%s %s)', node ->> 1, parts[1])
        else format('(%s %s %s)', parts[1], node ->> 1, parts[2]) end;

    when word in ('any', 'all') and node ->> 1 = any (operators) then
      return format('(%s %s %s (%s))', perch.filter_sql(node -> 2, columns, depth + 1, below), node ->> 1, word,
        perch.filter_sql(node -> 3, columns, depth + 1, below));

    when word in ('and', 'or') then
      parts := perch.filter_list(node -> 1, columns, depth + 1, below);
      return format('(%s)', array_to_string(parts, format(' %s ', word)));

    when word in ('coalesce', 'greatest', 'least') then
      return format('%s(%s)', word, array_to_string(perch.filter_list(node -> 1, columns, depth + 1, below), ', '));

    when word = 'array' then
      return format('array[%s]', array_to_string(perch.filter_list(node -> 1, columns, depth + 1, below), ', '));

    when word = 'in' then
      return format('(%s in (%s))', perch.filter_sql(node -> 1, columns, depth + 1, below),
        array_to_string(perch.filter_list(node -> 2, columns, depth + 1, below), ', '));

    when word = 'not' then
      return format('(not %s)', perch.filter_sql(node -> 1, columns, depth + 1, below));

    when word = 'is' and node ->> 1 in ('null', 'not null', 'true', 'not true', 'false', 'not false', 'unknown',
      'not unknown') then
      return format('(%s is %s)', perch.filter_sql(node -> 2, columns, depth + 1, below), node ->> 1);

    when word = 'distinct' then
      return format('(%s is distinct from %s)', perch.filter_sql(node -> 1, columns, depth + 1, below),
        perch.filter_sql(node -> 2, columns, depth + 1, below));

    when word = 'nullif' then
      return format('nullif(%s, %s)', perch.filter_sql(node -> 1, columns, depth + 1, below),
        perch.filter_sql(node -> 2, columns, depth + 1, below));

    when word = 'case' then
      select array_agg(format('when %s then %s', perch.filter_sql(b.value -> 0, columns, depth + 1, below),
               perch.filter_sql(b.value -> 1, columns, depth + 1, below)) order by b.nth)
        into parts
        from jsonb_array_elements(node -> 1) with ordinality b (value, nth);
      return format('(case %s else %s end)', array_to_string(parts, ' '),
        case when node -> 2 = 'null' then 'null' else perch.filter_sql(node -> 2, columns, depth + 1, below) end);

    when word = 'select' then
      return perch.filter_select(node, columns, depth + 1, context);

    when word = 'at' then
      return format('((%s)[%s])', perch.filter_sql(node -> 1, columns, depth + 1, below),
        perch.filter_sql(node -> 2, columns, depth + 1, below));

    else
      perform perch.fail('PE422',
        case when word in ('call', 'op', 'any', 'all') then format('a filter may not use %s', left(node ->> 1, 100))
          else format('the filter has a part that is not known: %s', left(word, 100)) end,
        jsonb_build_object('part', left(node ->> 1, 100)),
        'docs/shapes.md lists what a filter may say.');
  end case;
  return null;
end
$$;

comment on function perch.filter_sql(jsonb, jsonb, integer, jsonb) is
  'Private. The text of a filter, over a row that is called perch_row, made of its tree and nothing else. columns: as perch.shape_columns says. PE422 for what is not on the lists.';
