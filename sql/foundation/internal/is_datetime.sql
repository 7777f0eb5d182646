-- The one grammar of times (src/documents/loro/scalars.ts has it for TypeScript; a test holds them together). It knows
-- the calendar, leap years too, so that the cast to timestamptz takes whatever it takes, and means by it what everybody
-- means: the cast itself also takes words, years before Christ, zones by name and offsets that it then cannot compute
-- with. One expression, which the planner takes into the statement around it.
create or replace function perch.is_datetime(value text)
returns boolean
language sql immutable parallel safe
return value ~
  ('^(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])'
      '|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))'
    '|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)'
    '(?:T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?'
      '(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?))?$')
  and value > '0001' collate "C";

comment on function perch.is_datetime(text) is
  'Private. Whether it is a date of the years 1 to 9999, alone or with a time and its offset (Z, or up to 15:59), as ISO 8601 writes them.';
