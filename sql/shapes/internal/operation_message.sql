create or replace function perch.operation_message(
  operation text, key text, value text, old_value text, headers text, txids text, lsn bigint, op_position bigint
)
returns text
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select concat('{"key":', to_json(operation_message.key), ',"value":', value,
    case when old_value is not null then ',"old_value":' end, old_value,
    ',"headers":{"operation":"', operation, '",', headers, ',"txids":[', txids, '],"lsn":"', lsn,
    '","op_position":', op_position, '}}')
$$;

comment on function perch.operation_message(text, text, text, text, text, text, bigint, bigint) is
  'Private. A message of a shape''s log. value, old_value, headers: JSON; txids: numbers, by commas.';
