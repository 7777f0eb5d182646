-- One expression, which the planner takes into the statement around it. Not above 2^53, which JSON programs and
-- JavaScript hold exactly.
create or replace function perch.new_revision()
returns bigint
language sql volatile parallel safe
return 1 + (random() * 9007199254740990)::bigint;
grant execute on function perch.new_revision to perch_worker;

comment on function perch.new_revision() is
  'Private. A number for the revision of an update: drawn at random, so that no two updates that were ever given one position have the same.';
