-- SQLSTATE and the words of Postgres stay: programs run such a transaction again by the first, people know the others.
create or replace function perch.fail_undone(message text)
returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception using errcode = 'serialization_failure',
    message = format('%s: run the transaction again, from its start', fail_undone.message),
    hint = format('It is %s, and what this call writes was changed by others since its first statement. At read '
      'committed it would have waited for them.', current_setting('transaction_isolation'));
end
$$;
grant execute on function perch.fail_undone to perch_worker;

comment on function perch.fail_undone(text) is
  'Private. Raises a serialization failure (40001) that says what to do, for one that was caught with this message.';
