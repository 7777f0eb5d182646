create or replace function perch.assemble_json(tenant_id text, thread_no bigint, json_text text, pieces uuid[])
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select case
    when assemble_json.pieces is null then assemble_json.json_text
    -- "[,]" is an array whose elements a comma separates, "{, }" an object as jsonb writes it.
    else left(assemble_json.json_text, 1)
      || (select string_agg(p.body, substr(assemble_json.json_text, 2, length(assemble_json.json_text) - 2) order by u.nth)
            from unnest(assemble_json.pieces) with ordinality u (hash, nth)
            join perch.checkpoint_pieces p
              on p.tenant_id = assemble_json.tenant_id and p.thread_no = assemble_json.thread_no and p.hash = u.hash)
      || right(assemble_json.json_text, 1)
  end
$$;

comment on function perch.assemble_json(text, bigint, text, uuid[]) is
  'Of a row of perch.checkpoint_values: its JSON text, whole. Called by the view perch.checkpoints with the rights of whoever reads.';
