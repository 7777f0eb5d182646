-- With the thread locked: the numbers are the caller's to give.
create or replace function perch.add_values(
  thread perch.threads, keys text[], versions text[], types text[], jsons text[], bytes bytea[]
)
returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with given as materialized (
    select g.*,
           case when octet_length(g.json_text) >= 8192 then perch.split_json(g.json_text, spaced => g.version is null) end as bodies
      from unnest(add_values.keys, add_values.versions, add_values.types, add_values.jsons, add_values.bytes)
           with ordinality g (key, version, type, json_text, bytes, nth)
  ), split as materialized (
    select g.*, (select array_agg(encode(substring(sha256(convert_to(b.body, 'UTF8')) for 16), 'hex')::uuid order by b.nth)
                   from unnest(g.bodies) with ordinality b (body, nth)) as pieces
      from given g
  ), added as (
    insert into perch.checkpoint_pieces (tenant_id, thread_no, hash, body)
    select (thread).tenant_id, (thread).thread_no, p.hash, p.body
      from split s
     cross join unnest(s.pieces, s.bodies) p (hash, body)
    on conflict on constraint checkpoint_pieces_pkey do nothing
  )
  insert into perch.checkpoint_values (tenant_id, thread_no, no, key, version, type, json_text, pieces, bytes)
  select (thread).tenant_id, (thread).thread_no, (thread).last_value_no + s.nth, s.key, s.version, s.type,
         case
           when s.pieces is null then s.json_text
           else left(s.json_text, 1) || case when s.version is null then ', ' else ',' end || right(s.json_text, 1)
         end,
         s.pieces, s.bytes
    from split s
$$;

comment on function perch.add_values(perch.threads, text[], text[], text[], text[], bytea[]) is
  'Private. Stores values under the next numbers of a thread, in the order given; long ones in pieces.';
