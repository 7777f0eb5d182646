create or replace function perch.refuse_stamp(moment timestamptz)
returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.fail('PE422', 'this time cannot be kept', jsonb_build_object('got', moment::text),
    'Give a time of the years 1970 to 9999.');
end
$$;

comment on function perch.refuse_stamp(timestamptz) is
  'Private. The error of perch.stamp: an expression cannot raise one.';
