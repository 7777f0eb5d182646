-- A list of writable spaces (a token's, say) makes no owners: who is one is what perch.space_members says, as for
-- perch.owns_space; and a list that lets read only makes an owner a viewer.
create or replace function perch.roles_in(space_ids text[])
returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select coalesce(array_agg(
           case when s.space_id = perch.personal_space_id(perch.current_user_id()) then 'owner'
                when w.space_id is not null then case when m.role = 'owner' then 'owner' else 'editor' end
                when r.space_id is not null then 'viewer' end
           order by s.nth), '{}')
    from unnest(space_ids) with ordinality s (space_id, nth)
    left join (select distinct u collate "C" from unnest(perch.current_space_ids()) u) r (space_id)
      on r.space_id = s.space_id
    left join (select distinct u collate "C" from unnest(perch.writable_space_ids()) u) w (space_id)
      on w.space_id = s.space_id
    left join perch.space_members m on m.space_id = s.space_id and m.user_id = perch.current_user_id()
$$;

comment on function perch.roles_in(text[]) is
  'Private. What the current user is in each of these spaces: viewer, editor or owner (of the personal one: owner); null where they may not read.';
