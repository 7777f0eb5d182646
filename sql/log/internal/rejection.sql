-- Says what to do, too: what the error itself says, or what follows from its DETAIL, or what helps with most of its
-- kind.
create or replace function perch.rejection(
  op_id text, space_id text, code text, message text, detail jsonb, hint text default null
)
returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object('op_id', rejection.op_id, 'status', 'rejected', 'space_id', rejection.space_id, 'seq', null,
    'error', jsonb_build_object('code', rejection.code, 'message', rejection.message, 'detail', rejection.detail,
      'hint', coalesce(nullif(rejection.hint, ''), perch.hint_for(rejection.code, rejection.detail),
        case rejection.code
          when 'PE403' then 'Leave it out, or ask an owner of the space for the right to write this.'
          when 'PE409' then 'Pull what is there now, and push a change that fits it, with an op_id of its own.'
          when 'PE410' then 'Begin anew from a snapshot, and push what is still wanted.'
          when 'PE413' then 'Make it smaller, or push it in parts.'
          else 'The same again is rejected again: mend what the message names, or leave the change out.' end)))
$$;

comment on function perch.rejection(text, text, text, text, jsonb, text) is
  'Private. The result of a change that is rejected: why, for programs and for people, and what to do.';
