-- Volatile, so that it looks at what is committed now, and not with the statement that calls it. In a transaction that
-- keeps to what it first saw it cannot: there a function that is gone was taken away since, or by somebody's hand.
create or replace function perch.require_same_rules(synced perch.synced_relations)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' or not exists (
    select from perch.synced_relations r
     where r.relation = synced.relation and r.filter_function = synced.filter_function)
  then
    raise exception 'the rules of % were changed meanwhile', synced.table_name
      using errcode = 'serialization_failure', hint = 'Ask again, in a new transaction: it goes by the new rules.';
  end if;
end
$$;

comment on function perch.require_same_rules(perch.synced_relations) is
  'Private. 40001 when the row_filter of a synced table is another by now than in these options of it: asked again, in a new transaction, it is the new one.';
