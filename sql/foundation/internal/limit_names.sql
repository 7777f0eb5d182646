create or replace function perch.limit_names()
returns text[]
language sql immutable parallel safe
return array['clock_tolerance_ms', 'keep_receipts_hours', 'max_change_bytes', 'max_changes_per_push',
  'max_encrypted_bytes', 'max_fields', 'max_page_bytes', 'max_patch_bytes', 'max_record_bytes', 'max_result_bytes',
  'max_spaces_made', 'max_state_bytes', 'max_update_bytes', 'prune_batch'];
grant execute on function perch.limit_names to perch_worker;

comment on function perch.limit_names() is 'Private. The limits that perch.set_limit takes.';
