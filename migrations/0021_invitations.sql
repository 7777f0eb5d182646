-- Invitations: a member of a space is made by whoever holds a secret that one of its owners gave out.

-- Up Migration

create table perch.space_invitations (
  space_id      text collate "C" not null references perch.spaces on delete cascade,
  invitation_id text collate "C" not null check (invitation_id ~ '^[0-9a-f]{64}$'),
  role          text not null check (role in ('viewer', 'editor', 'owner')),
  uses_left     integer not null check (uses_left between 0 and 1000000),
  created_by    text collate "C" not null,
  created_at    timestamptz not null default clock_timestamp(),
  expires_at    timestamptz not null,
  primary key (space_id, invitation_id)
);
comment on table perch.space_invitations is
  'Open invitations to shared spaces. invitation_id is the SHA-256 of the secret, in hex: who reads the table, or a copy of it, cannot accept one.';

-- Down Migration

drop table perch.space_invitations;
