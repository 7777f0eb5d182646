create or replace function perch.add_long_write(
  tenant_id text, thread_no bigint, checkpoint_id uuid, task_id text, idx integer, channel text, json_text text, replace boolean
)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  bodies constant text[] := perch.split_json(add_long_write.json_text, ',');
begin
  insert into perch.checkpoint_writes as w (tenant_id, thread_no, checkpoint_id, task_id, idx, channel, json_text, pieces)
  values (add_long_write.tenant_id, add_long_write.thread_no, add_long_write.checkpoint_id, add_long_write.task_id, add_long_write.idx,
          add_long_write.channel,
          case when cardinality(bodies) = 1 then '' else left(add_long_write.json_text, 1) || ',' || right(add_long_write.json_text, 1) end,
          perch.add_pieces(add_long_write.tenant_id, add_long_write.thread_no, bodies))
  on conflict on constraint checkpoint_writes_pkey do update
    set channel = excluded.channel, type = excluded.type, json_text = excluded.json_text, pieces = excluded.pieces, bytes = excluded.bytes
    where add_long_write.replace;
end
$$;

comment on function perch.add_long_write(text, bigint, uuid, text, integer, text, text, boolean) is
  'Private. Keeps a long write of a task, in pieces: what it wrote may become the value of a channel, which then has the same.';
