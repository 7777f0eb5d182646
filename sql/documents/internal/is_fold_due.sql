create or replace function perch.is_fold_due(document perch.documents, added_bytes integer)
returns boolean
language sql immutable parallel safe
return (document.tail_count + 1) % 1000 = 0
  or (document.tail_bytes + added_bytes) / 262144 > document.tail_bytes / 262144;
grant execute on function perch.is_fold_due to perch_worker;

comment on function perch.is_fold_due(perch.documents, integer) is
  'Private. Whether one more update takes the tail of a document over the next thousand updates, or the next 256 KiB: each time a worker is asked to see whether it should be folded.';
