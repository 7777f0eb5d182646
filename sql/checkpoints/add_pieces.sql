create or replace function perch.add_pieces(tenant_id text, thread_no bigint, bodies text[])
returns uuid[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  hashes uuid[];
begin
  if cardinality(add_pieces.bodies) = 1 then
    hashes := array[encode(substring(sha256(convert_to(add_pieces.bodies[1], 'UTF8')) for 16), 'hex')::uuid];
  else
    hashes := array(select encode(substring(sha256(convert_to(b.body, 'UTF8')) for 16), 'hex')::uuid
                      from unnest(add_pieces.bodies) with ordinality b (body, nth) order by b.nth);
  end if;
  insert into perch.checkpoint_pieces (tenant_id, thread_no, hash, body)
  select add_pieces.tenant_id, add_pieces.thread_no, p.hash, p.body
    from unnest(hashes, add_pieces.bodies) p (hash, body)
  on conflict on constraint checkpoint_pieces_pkey do nothing;
  return hashes;
end
$$;

comment on function perch.add_pieces(text, bigint, text[]) is
  'Private. Stores pieces of values of a thread, unless it has them; returns their hashes, in the same order.';
