-- What a LangGraph saver stores is JSON for JavaScript. jsonb cannot hold all of it (U+0000, halves of surrogate
-- pairs); one such value must not keep anybody from reading the others.
create or replace function perch.as_jsonb(type text, json_text text, bytes bytea)
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  if as_jsonb.json_text is null then
    return jsonb_build_object('type', as_jsonb.type, 'base64', encode(as_jsonb.bytes, 'base64'));
  end if;
  return as_jsonb.json_text::jsonb;
exception
  when untranslatable_character or invalid_text_representation or program_limit_exceeded
    or numeric_value_out_of_range then
    return to_jsonb(as_jsonb.json_text);
end
$$;
grant execute on function perch.as_jsonb to perch_app, perch_worker;

comment on function perch.as_jsonb(text, text, bytea) is
  'A channel''s value for reading in SQL: JSON that jsonb cannot hold as its text, bytes as their type and base64. Called by the view perch.checkpoints with the rights of whoever reads.';
