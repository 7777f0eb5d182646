-- Spaces: the unit of sharing, of ordering and of partitioning.
-- Ids are compared byte by byte (collate "C"): the same order on every server, whatever its locale.

-- Up Migration

create table perch.spaces (
  space_id   text collate "C" not null primary key,
  created_by text collate "C" not null,
  created_at timestamptz not null default clock_timestamp()
);
comment on table perch.spaces is
  'Shared spaces made with perch.create_space. Personal spaces (~<user_id>) exist without a row here.';

create table perch.space_members (
  space_id   text collate "C" not null references perch.spaces on delete cascade,
  user_id    text collate "C" not null,
  role       text not null check (role in ('viewer', 'editor', 'owner')),
  created_at timestamptz not null default clock_timestamp(),
  primary key (space_id, user_id)
);
comment on table perch.space_members is
  'Who is in a shared space, as viewer (reads), editor (reads and writes) or owner (also manages members).';

-- perch.set_context reads a user's memberships by it.
create index space_members_by_user on perch.space_members (user_id, space_id) include (role);

-- Down Migration

drop table perch.space_members;
drop table perch.spaces;
