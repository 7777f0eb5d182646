-- A filter is evaluated with the rights of the table's owner, as the WHERE of a view of theirs would be: by a SECURITY
-- DEFINER function that is theirs, beside the table, and executes nothing but this one text. Not as perch_owner, who
-- may read what all apps sync, and as whom a function that the filter calls would run; and not as whoever reads, who
-- has no rights on the table at all.
--
-- Postgres itself says what an expression is: as the condition of a view, whose text has every name resolved, so that
-- it means the same under any search_path. A column of the row is named alone, or, within a sub-select, by the name of
-- the table.
--
-- Whether it looks beyond the row, so that what it says may change while the row does not, Postgres says, too: what it
-- takes for an index does not.
--
-- What a function of somebody else's does it does with the rights of whoever calls it: one that is neither the owner's
-- nor a superuser's is refused.
--
-- A document shows at once what is typed, and its column later: what the filter reads is not to be one.
--
-- Its name is that of the rules: a statement goes by the options of the table that it began with, and a function that
-- was made anew since would show by new rules which rows there are, and by old ones their columns. So it finds none.
--
-- What the log has of a row is as the table was then: of a column that the filter does not ask for it may have what the
-- column takes no more. So of a row no more is read than the filter asks for, unless it asks for the row as a whole.
-- Where it lacks a column that the filter asks for, since it had another name or was not there, it is not null: nobody
-- knows what it was, and the row as it was is out of sight. Where the table itself has no such column any more the
-- filter fails, which doctor is told of. The catalog is asked for that each time: by a plan that is kept, what has
-- another name by now would go unnoticed, and one that names the table would wait for whoever alters it.
--
-- The function evaluates it on many rows in one statement. Only where that fails it goes through them one by one, each
-- in a subtransaction, and gives null for those that fail. What is no fault of a row is raised: a conflict with others,
-- a time-out, a server without room.
create or replace function perch.make_row_filter(
  relation regclass, row_filter text, documents jsonb, columns name[], column_roles jsonb,
  out made text, out reads_more boolean
)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  class pg_class;
  owner name;
  canonical text;
  hidden name;
  foreign_function text;
  document text;
  asked text[];
  -- As what the filter sees the row: of many at once, and by itself.
  sources text[];
  message text;
  code text;
  role_before constant text := current_setting('role');
  ddl_before jsonb;
begin
  select c.* into class from pg_class c where c.oid = make_row_filter.relation;
  owner := pg_get_userbyid(class.relowner);
  made := format('%s.%I', class.relnamespace::regnamespace, concat_ws('_', 'perch_sees', case
    when octet_length(class.relname) > 43 then md5(class.relname) else class.relname end,
    left(md5(concat_ws(E'\n', row_filter, columns, column_roles)), 8)));
  if not pg_has_role(current_user, class.relowner, 'MEMBER')
     and not pg_has_role(session_user, class.relowner, 'MEMBER')
  then
    perform perch.as_owner(relation, 'select');
  end if;
  perform perch.allow_filter(owner);
  begin
    ddl_before := perch.keep_ddl_here();
    perform set_config('role', owner, true);
    execute format(E'create temporary view perch_probe as select 1 as one from %s as %I where (%s\n)',
      relation, class.relname, row_filter);
    select trim(trailing ';' from v.text) into canonical
      from pg_get_viewdef('pg_temp.perch_probe'::regclass) d (text)
     -- Behind WHERE there may be a line's end, as before CASE.
     cross join lateral (select substring(d.text from E'\n  WHERE\\s(.*)$')) v (text);
    select a.attname into hidden
      from pg_depend d
      join pg_rewrite w on w.oid = d.objid and w.ev_class = 'pg_temp.perch_probe'::regclass
      join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
     where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
       and d.refobjid = make_row_filter.relation and a.attgenerated = 'v' limit 1;
    select coalesce(array_agg(distinct a.attname::text), '{}') into asked
      from pg_depend d
      join pg_rewrite w on w.oid = d.objid and w.ev_class = 'pg_temp.perch_probe'::regclass
      join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
     where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
       and d.refobjid = make_row_filter.relation;
    select a.attname into document
      from pg_depend d
      join pg_rewrite w on w.oid = d.objid and w.ev_class = 'pg_temp.perch_probe'::regclass
      join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
     where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_class'::regclass
       and d.refobjid = make_row_filter.relation and make_row_filter.documents ? a.attname limit 1;
    select format('%s(%s)', p.oid::regproc, pg_get_function_identity_arguments(p.oid)) into foreign_function
      from pg_depend d
      join pg_rewrite w on w.oid = d.objid and w.ev_class = 'pg_temp.perch_probe'::regclass
      join pg_proc p on p.oid = d.refobjid
      join pg_roles o on o.oid = p.proowner
     where d.classid = 'pg_rewrite'::regclass and d.refclassid = 'pg_proc'::regclass
       and not p.prosecdef and p.proowner not in (class.relowner, 'perch_owner'::regrole) and not o.rolsuper limit 1;
    drop view pg_temp.perch_probe;
    perform set_config('role', role_before, true);
    sources := array(
      select case
          -- Where the row is an argument as a whole, Postgres says so.
          when strpos(canonical, concat(quote_ident(class.relname), '.*')) > 0 then
            format('jsonb_populate_record(null::%s, %s) as %I', relation, r.row, class.relname)
          when asked = '{}' then format('(select) as %I', class.relname)
          else format('jsonb_to_record(%s) as %I (%s)', r.row, class.relname, perch.typed_columns(relation, asked)) end
        from unnest('{perch_given.perch_row,perch_row}'::text[]) with ordinality r (row, nth) order by r.nth);
    perform set_config('role', owner, true);
    begin
      -- As an index of the row for any one user it would have to say the same for ever.
      execute format('create temporary table %I (like %s)', class.relname, relation);
      execute format('create index on pg_temp.%I (((%s)::boolean))', class.relname,
        replace(canonical, 'perch.current_user_id()', '''''::text'));
      execute format('drop table pg_temp.%I', class.relname);
      reads_more := false;
    exception when others then
      reads_more := true;
    end;
    execute format(
      'create or replace function %1$s(perch_rows jsonb[], out perch_sees boolean[], out perch_code text)
       language plpgsql stable security definer set search_path = pg_catalog, pg_temp
       set timezone = ''UTC'' set datestyle = ''ISO, MDY'' set intervalstyle = ''postgres'' as %2$L',
      made, format(
$f$
#variable_conflict use_column
-- Made by perch.sync_table of its row_filter, and made anew when it is called again.
declare
  perch_row jsonb;
  perch_one boolean;
begin
  if exists (
    select from unnest(%4$L::text[]) perch_asked (perch_name) where not exists (
      select from pg_attribute where attrelid = %5$L::regclass and attname = perch_name and not attisdropped))
  then
    perch_code := '42703';
    perch_sees := array_fill(null::boolean, array[cardinality(perch_rows)]);
    return;
  end if;
  select coalesce(array_agg(perch_seen.perch_one order by perch_given.perch_nth), '{}') into perch_sees
    from unnest(perch_rows) with ordinality perch_given (perch_row, perch_nth)
   cross join lateral (
     select case when perch_given.perch_row ?& %4$L::text[] then coalesce((%3$s), false) else false end
       from %1$s) perch_seen (perch_one);
exception when others then
  if left(sqlstate, 2) in ('25', '40', '53', '55', '57', '58', 'XX') then
    raise;
  end if;
  perch_code := sqlstate;
  perch_sees := '{}';
  foreach perch_row in array perch_rows loop
    begin
      perch_one := false;
      if perch_row ?& %4$L::text[] then
        select coalesce((%3$s), false) into perch_one from %2$s;
      end if;
    exception when others then
      if left(sqlstate, 2) in ('25', '40', '53', '55', '57', '58', 'XX') then
        raise;
      end if;
      perch_one := null;
      perch_code := sqlstate;
    end;
    perch_sees := array_append(perch_sees, perch_one);
  end loop;
end
$f$, sources[1], sources[2], canonical, asked, relation::text));
    execute format('revoke all on function %s(jsonb[]) from public', made);
    execute format('grant execute on function %s(jsonb[]) to perch_owner', made);
    -- Whether its owner may do what it asks for is known without a row.
    execute format('select f.perch_code from %s(array[]::jsonb[]) f', made) into code;
    if code is not null then
      raise exception 'its owner may not do what it asks for, or it fails without a row' using errcode = code;
    end if;
    perform set_config('role', role_before, true);
    perform perch.unpin_settings(ddl_before);
  exception when others then
    get stacked diagnostics message = message_text, code = returned_sqlstate;
    perform perch.fail('PE422', format('row_filter cannot be used: %s', message),
      jsonb_build_object('argument', 'row_filter', 'sqlstate', code, 'owner', owner),
      concat('It is a condition over the columns of the row and perch.current_user_id(), with the schema of each ',
        'table and function that is not Postgres'' own, and is evaluated with the rights of the table''s owner, ',
        owner, '. Within a sub-select a column of the row is ', quote_ident(class.relname), '.column.'));
  end;
  if hidden is not null then
    perform perch.fail('PE422',
      format('row_filter asks for %s, a virtual generated column, which triggers do not see', hidden),
      jsonb_build_object('argument', 'row_filter', 'column', hidden), 'Make it a stored one.');
  end if;
  if document is not null then
    perform perch.fail('PE422', format('row_filter reads %s, which is a document', document),
      jsonb_build_object('argument', 'row_filter', 'column', document),
      'What people type would decide who sees it, and only after it was sent: let it read columns that are none.');
  end if;
  if foreign_function is not null then
    perform perch.fail('PE422',
      format('row_filter calls %s, which is somebody else''s, with the rights of %s', foreign_function, owner),
      jsonb_build_object('argument', 'row_filter', 'function', foreign_function),
      format('Let it belong to %s, or make it SECURITY DEFINER, with a search_path of its own.', owner));
  end if;
end
$$;

comment on function perch.make_row_filter(regclass, text, jsonb, name[], jsonb) is
  'Private. Makes the function that evaluates a row_filter on rows of a table, for perch.rows_in_sight, under rules of which these columns and column_roles are the others, and returns its name, and whether the filter looks beyond the row. PE422 where it is no condition over the row, or its owner may not do what it asks for.';
