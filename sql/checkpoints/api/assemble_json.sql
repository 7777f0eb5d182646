create or replace function perch.assemble_json(tenant_id text, thread_no bigint, json_text text, pieces uuid[])
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  if assemble_json.pieces is null then
    return assemble_json.json_text;
  end if;
  if assemble_json.json_text = '' then
    return (select p.body from perch.checkpoint_pieces p
             where p.tenant_id = assemble_json.tenant_id and p.thread_no = assemble_json.thread_no
               and p.hash = assemble_json.pieces[1]);
  end if;
  -- "[,]" is an array whose elements a comma separates, "{, }" an object as jsonb writes it.
  return left(assemble_json.json_text, 1)
      || (select string_agg(p.body, substr(assemble_json.json_text, 2, length(assemble_json.json_text) - 2)
        order by u.nth)
            from unnest(assemble_json.pieces) with ordinality u (hash, nth)
           cross join lateral (
             select x.body from perch.checkpoint_pieces x
              where x.tenant_id = assemble_json.tenant_id and x.thread_no = assemble_json.thread_no and x.hash = u.hash
             offset 0
           ) p)
      || right(assemble_json.json_text, 1);
end
$$;
grant execute on function perch.assemble_json to perch_app, perch_worker;

comment on function perch.assemble_json(text, bigint, text, uuid[]) is
  'Of a row of perch.checkpoint_values or perch.checkpoint_writes: its JSON text, whole. Called by the view perch.checkpoints with the rights of whoever reads.';
