-- One expression, which the planner takes into the statement around it. Without so many digits in a row there is no
-- number that perch.check_numbers refuses, which is nearly always so, and found out fast.
create or replace function perch.may_have_long_number(content text)
returns boolean
language sql immutable parallel safe
return octet_length(content) > 300 and content ~ '[0-9]{255}';

comment on function perch.may_have_long_number(text) is
  'Private. Whether the text of a jsonb value may have a number that perch.check_numbers refuses.';
