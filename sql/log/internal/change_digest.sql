-- Times are as they were given, not as they were set back by the server's clock, which goes on until the change is sent
-- again. Separated by a line feed, which JSON text has none of; the times of fields, as an object, are not taken for
-- that of the change.
create or replace function perch.change_digest(app_id text, space_id text, said text, given_at timestamptz,
  field_times jsonb)
returns bytea
language sql stable parallel safe
return sha256(convert_to(concat_ws(E'\n', app_id, space_id, perch.plain_numbers(said), extract(epoch
  from given_at), field_times::text), 'UTF8'));

comment on function perch.change_digest(text, text, text, timestamptz, jsonb) is
  'Private. What two changes with one op_id must have in common: what they mean (perch.change_content), where, and when. One and the same for perch.push, perch.push_many and perch.read_change.';
