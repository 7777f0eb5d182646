create or replace function perch.patch_base(
  space_id text, app_id text, table_name text, record_id text, base_seq bigint, user_id text, base_revision bigint
)
returns table (
  incarnation_seq bigint, tail_from bigint, merged_seq bigint, leads_on boolean, version jsonb, was_read boolean,
    pushed jsonb[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
begin
  return query
    select d.incarnation_seq, d.tail_from, d.merged_seq,
      perch.has_position(d, patch_base.base_seq, patch_base.base_revision),
           perch.document_version(d.space_id, d.app_id, d.table_name, d.record_id, at_seq => patch_base.base_seq),
           patch_base.base_seq in (d.incarnation_seq, d.tail_from) or exists (
             select from perch.document_updates u
              where u.space_id = d.space_id and u.app_id = d.app_id
                and u.table_name = d.table_name and u.record_id = d.record_id
                and u.seq = patch_base.base_seq),
           array(
             select u.ends from perch.document_updates u
              where u.space_id = d.space_id and u.app_id = d.app_id
                and u.table_name = d.table_name and u.record_id = d.record_id
                and u.pushed_seq <= patch_base.base_seq and u.user_id = coalesce(patch_base.user_id, u.user_id)
                and u.ends is not null)
      from perch.documents d
     where d.space_id = patch_base.space_id and d.app_id = patch_base.app_id
       and d.table_name = patch_base.table_name and d.record_id = patch_base.record_id;
end
$$;
grant execute on function perch.patch_base to perch_worker;

comment on function perch.patch_base(text, text, text, text, bigint, text, bigint) is
  'Private. What a patch was based on, whose author knew a document up to base_seq: the version there (as document_updates.ends), whether that is a position of the tail (was_read) and leads on to what there is (leads_on, as perch.has_position), and what was pushed up to there (by user_id; null: by anybody). No row when there is no such document.';
