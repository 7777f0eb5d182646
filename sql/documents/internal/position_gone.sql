create or replace function perch.position_gone(space_id text, argument text, seq bigint, latest_seq bigint)
returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
  perform perch.fail('PE410',
    format('the document has nothing of the kind at %s %s: it was deleted, or '
      'the database went back to an earlier state', argument, seq),
    jsonb_build_object('argument', argument, 'got', seq, 'spaces',
      jsonb_build_array(jsonb_build_object('space_id', space_id,
      'reason', case when seq > latest_seq then 'ahead'
        else 'epoch' end, 'oldest_seq', null, 'latest_seq', latest_seq))),
    'Read the document again from the beginning.');
end
$$;

comment on function perch.position_gone(text, text, bigint, bigint) is
  'Private. Raises PE410 for a position of a document that the database does not have, or not with that revision.';
