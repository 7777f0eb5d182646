-- Lock order: pieces, by hash, behind the row of their thread (docs/architecture.md, "The order of locks").
create or replace function perch.add_pieces(tenant_id text, thread_no bigint, bodies text[])
returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  hashes constant uuid[] := perch.piece_hashes(add_pieces.bodies);
begin
  insert into perch.checkpoint_pieces (tenant_id, thread_no, hash, body)
  select add_pieces.tenant_id, add_pieces.thread_no, p.hash, p.body
    from unnest(hashes, add_pieces.bodies) p (hash, body)
   order by p.hash
  on conflict on constraint checkpoint_pieces_pkey do nothing;
  return hashes;
end
$$;

comment on function perch.add_pieces(text, bigint, text[]) is
  'Private. Stores pieces of values of a thread, unless it has them; returns their hashes, in the same order.';
