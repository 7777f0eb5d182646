-- Above read committed Postgres undoes a statement that meets what was committed behind the snapshot of its
-- transaction: 40001, without a word of what to do. To say it the error has to be caught, in a subtransaction, which
-- nobody pays for at read committed, where there is nothing to catch. So a function of the API that writes first asks
-- this, and calls itself once more in a block that catches (perch.fail_undone); of a call and the one that it makes of
-- itself the first is told yes, the second no. It has no parameters and no pinned path, so that it costs no call.
create or replace function perch.catches_undone()
returns boolean
language sql volatile
return current_setting('transaction_isolation') not like 'read %'
  and set_config('perch.catches_undone', case when current_setting('perch.catches_undone', true) = 'yes'
        then 'no' else 'yes' end, true) = 'yes';
grant execute on function perch.catches_undone to perch_worker;

comment on function perch.catches_undone() is
  'Private. Whether the function that asks is to call itself in a block that catches serialization failures: where the transaction keeps its snapshot, and this is not that call.';
