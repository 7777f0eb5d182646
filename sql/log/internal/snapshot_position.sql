-- The first page is at the head of the log; the others are at the position of the first, and the entry there must be
-- the one that it was. Of what was forgotten while the pages were taken, pulling will tell.
create or replace function perch.snapshot_position(
  space_id text, terms text, given_terms text, given_seq bigint, given_mark text, out seq bigint, out mark text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  head perch.space_heads;
  reason text;
begin
  select h.* into head from perch.space_heads h where h.space_id = snapshot_position.space_id;
  seq := coalesce(given_seq, head.seq, 0);
  mark := head.mark;
  if seq <> head.seq or mark is null then
    mark := (select perch.entry_mark(l.created_at) from perch.sync_changes l
              where l.space_id = snapshot_position.space_id and l.seq = snapshot_position.seq);
  end if;
  if seq < head.oldest_seq then
    mark := case when seq = head.oldest_seq - 1 then head.before_oldest else given_mark end;
  end if;
  if given_seq is not null then
    reason := case when given_terms <> terms or given_mark is distinct from mark then 'epoch'
                   when given_seq > coalesce(head.seq, 0) then 'ahead' end;
  end if;
  if reason is not null then
    perform perch.fail('PE410', 'the log was restored meanwhile, or other rules hold for this user',
      jsonb_build_object('spaces', jsonb_build_array(jsonb_build_object(
        'space_id', snapshot_position.space_id, 'reason', reason,
        'oldest_seq', coalesce(head.oldest_seq, 1), 'latest_seq', coalesce(head.seq, 0)))),
      'Begin again, with after null.');
  end if;
end
$$;

comment on function perch.snapshot_position(text, text, text, bigint, text) is
  'Private. The position in the log of a space at which a snapshot is taken, and its mark. terms: what its pages must have in common (the epoch, the rules, the reader''s role); given_*: that of its first page, null with the first. Errors: PE410 when the log does not have that any more.';
