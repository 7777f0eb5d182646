-- One document has all columns of its row that are documents (perch.check_sync_options: the same roles see them).
create or replace function perch.rows_with_documents_in_sight(
  relation perch.synced_relations, space_ids text[], record_ids text[]
)
returns boolean[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  half constant integer := cardinality(record_ids) / 2;
  roles constant text[] := perch.roles_in(space_ids);
  found record;
  spaces text[];
  sees boolean[];
begin
  begin
    select * into found from perch.find_rows(relation, perch.key_columns(relation.relation),
      array(select perch.row_key(relation.relation, r) from unnest(record_ids) with ordinality u (r, nth) order by nth),
      to_lock => false, is_new => false);
  exception when data_exception or integrity_constraint_violation then
    -- An id that is none of this table hides no other.
    if cardinality(record_ids) = 1 then
      return '{false}';
    end if;
    return array(
      select (perch.rows_with_documents_in_sight(relation, array[u.space_id], array[u.record_id]))[1]
        from unnest(space_ids, record_ids) with ordinality u (space_id, record_id, nth) order by u.nth);
  end;
  if cardinality(found.rows_there) < cardinality(record_ids) then
    return perch.rows_with_documents_in_sight(relation, space_ids[:half], record_ids[:half])
      || perch.rows_with_documents_in_sight(relation, space_ids[half + 1:], record_ids[half + 1:]);
  end if;
  spaces := perch.space_of_rows(relation, found.rows_there);
  sees := perch.rows_in_sight(relation, found.rows_there);
  return array(
    select coalesce(u.sees and u.row_space = u.space_id and u.role is not null
                    and not (perch.columns_hidden_from(relation, u.role)::text[]
                             && array(select jsonb_object_keys(relation.documents))), false)
      from unnest(space_ids, spaces, sees, roles) with ordinality u (space_id, row_space, sees, role, nth)
     order by u.nth);
end
$$;

comment on function perch.rows_with_documents_in_sight(perch.synced_relations, text[], text[]) is
  'Private. Of which rows of a synced table the current user may see the document: the row is there, in that space and in sight, and the columns that are documents are for their role.';
