create or replace function perch.age_ms(since timestamptz)
returns float8
language sql stable
return extract(epoch from clock_timestamp() - since) * 1000;
grant execute on function perch.age_ms to perch_worker;

comment on function perch.age_ms(timestamptz) is
  'Private. How long ago that was, in milliseconds, by the clock of the database.';
