create or replace function perch.piece_hashes(bodies text[])
returns uuid[]
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  select case when piece_hashes.bodies is not null
    then array(select encode(substring(sha256(convert_to(b.body, 'UTF8')) for 16), 'hex')::uuid
    from unnest(piece_hashes.bodies) with ordinality b (body, nth) order by b.nth) end
$$;

comment on function perch.piece_hashes(text[]) is
  'Private. The keys in perch.checkpoint_pieces of pieces of values, in the same order; null for null.';
