create or replace function perch.projection_delay(projection_bytes bigint)
returns interval
language sql immutable parallel safe
set search_path = pg_catalog, pg_temp
as $$
  -- 150 ms while the projection is small, so that the record follows within 250; beyond 16 kB in proportion, to 5 s at most:
  -- what projecting costs a second is then bounded whatever the size.
  select make_interval(secs => least(5.0, 0.15 * greatest(1, projection_bytes / 16384.0)))
$$;

comment on function perch.projection_delay(bigint) is
  'Private. How long the record of a document may lag behind it, by the size of its last projection.';
