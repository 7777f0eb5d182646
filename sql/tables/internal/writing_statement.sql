-- Which row is which is told by the key of what is inserted, by the place of what is updated.
create or replace function perch.writing_statement(
  relation perch.synced_relations, keys text[], action text, columns text[]
)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  targets text[];
begin
  if action = 'insert' then
    targets := array(
      select unnest(columns) union select unnest(keys) union select relation.space_column
       where relation.space_column is not null);
    return format(
      'with made as (
         insert into %1$s as x (%2$s)
         select %3$s from (select r.* from pg_catalog.unnest($1) g (row)
           cross join lateral pg_catalog.jsonb_to_record(g.row) as r (%5$s) offset 0) g
          order by %4$s
         returning pg_catalog.to_jsonb(x.*) as row)
       select pg_catalog.array_agg(m.row), null, null from made m',
      relation.relation, (select string_agg(quote_ident(c), ', ') from unnest(targets) c),
      (select string_agg(format('g.%I', c), ', ') from unnest(targets) c),
      (select string_agg(format('g.%I', c), ', ') from unnest(keys) c),
      perch.typed_columns(relation.relation, targets));
  elsif action = 'update' then
    return format(
      'with made as (
         update %1$s x set %2$s
           from (select r.*, g.place as perch_place, g.part as perch_part, g.nth as perch_nth
             from unnest($1, $2, $3) with ordinality g (row, place, part, nth)
            cross join lateral pg_catalog.jsonb_to_record(g.row) as r (%3$s) offset 0) g
          where x.ctid = g.perch_place and x.tableoid = g.perch_part
         returning row(x.*)::%1$s as row, g.perch_nth as nth)
       select pg_catalog.array_agg(pg_catalog.to_jsonb(m.row) order by m.nth), null,
              pg_catalog.array_agg(m.nth order by m.nth)
         from made m',
      relation.relation, (select string_agg(format('%1$I = g.%1$I', c), ', ') from unnest(columns) c),
      perch.typed_columns(relation.relation, columns));
  end if;
  return format(
    'with made as (
       delete from %1$s x using (select r.*, g.nth as perch_nth
          from pg_catalog.unnest($1) with ordinality g (row, nth)
          cross join lateral pg_catalog.jsonb_to_record(g.row) as r (%3$s) offset 0) g
        where %2$s returning row(x.*)::%1$s as row, g.perch_nth as nth)
     select null, pg_catalog.array_agg(pg_catalog.to_jsonb(m.row)), pg_catalog.array_agg(m.nth) from made m',
    relation.relation,
    (select string_agg(format('x.%1$I operator(pg_catalog.=) g.%1$I', c), ' and ') from unnest(keys) c),
    perch.typed_columns(relation.relation, keys));
end
$$;

comment on function perch.writing_statement(perch.synced_relations, text[], text, text[]) is
  'Private. The statement that inserts, updates (these columns) or deletes rows of a synced table: of rows as JSON ($1), where they are ($2: places, $3: tables); gives what they became, what is gone, and which were written, by their place in $1 (null: of what was inserted).';
