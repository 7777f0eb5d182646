create or replace function perch.invitation_id(secret text)
returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
  select encode(sha256(convert_to(secret, 'UTF8')), 'hex')
$$;

comment on function perch.invitation_id(text) is
  'Private. What is kept of an invitation''s secret: its SHA-256, in hex.';
