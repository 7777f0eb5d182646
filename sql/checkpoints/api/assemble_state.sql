-- The values are looked up one by one ("offset 0" stands in the way of anything else): a plan that reads all those of a
-- thread and drops most of them looks as good while the tables are small, and may be kept.
create or replace function perch.assemble_state(tenant_id text, thread_no bigint, value_nos integer[])
returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
  return (
    select coalesce(
             (array_agg(perch.assemble_json(assemble_state.tenant_id, assemble_state.thread_no, v.json_text,
               v.pieces)::jsonb)
                filter (where v.key is null))[1],
             (json_object_agg(v.key, case
               when v.version is null and v.pieces is null then v.json_text::jsonb
               when v.version is null then perch.assemble_json(assemble_state.tenant_id, assemble_state.thread_no,
                 v.json_text, v.pieces)::jsonb
               else perch.as_jsonb(v.type, perch.assemble_json(assemble_state.tenant_id, assemble_state.thread_no,
                 v.json_text, v.pieces), v.bytes)
             end) filter (where v.key is not null))::jsonb,
             '{}')
      from unnest(assemble_state.value_nos) u (no)
     cross join lateral (
       select x.* from perch.checkpoint_values x
        where x.tenant_id = assemble_state.tenant_id and x.thread_no = assemble_state.thread_no and x.no = u.no
       offset 0
     ) v
     where v.json_text is not null or v.bytes is not null);
end
$$;
grant execute on function perch.assemble_state to perch_app, perch_worker;

comment on function perch.assemble_state(text, bigint, integer[]) is
  'The state that the values of these numbers make up. Called by the view perch.checkpoints with the rights of whoever reads.';
