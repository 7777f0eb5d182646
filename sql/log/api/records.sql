create or replace view perch.records with (security_invoker = true) as
  select r.space_id, r.app_id, r.table_name, r.record_id, coalesce(r.data || r.long_data, r.data) as data, r.field_meta,
    r.seq, r.user_id, r.created_at, r.updated_at
    from perch.stored_records r
   where not r.deleted;

comment on view perch.records is
  'The live records that the current user may read: data is the merged state, for documents their projection; its changes up to seq are in it, and perhaps one that has no number yet.';
