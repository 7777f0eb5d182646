-- Of what is persisted of presence, who brought it: whose key it is says nothing of those that are handed on.

-- Up Migration

alter table perch.presence add column brought_by text collate "C";
comment on column perch.presence.brought_by is
  'The user of the connection that brought it, whosever key it is: what is persisted counts for them; null: not known.';
-- Row level security is forced on the owner, too.
alter table perch.presence no force row level security;
update perch.presence set brought_by = user_id where user_id is not null;
alter table perch.presence force row level security;
drop index perch.presence_by_user;
create index presence_by_bringer on perch.presence (brought_by) where kind = 'persisted';
-- It takes who brought an entry as well.
drop function if exists perch.put_presence(
  uuid, text[], text[], text[], text[], text[], bytea[], bytea[], bigint[], bigint[], text[], bigint);

-- Down Migration

drop function if exists perch.put_presence(
  uuid, text[], text[], text[], text[], text[], bytea[], bytea[], bigint[], bigint[], text[], bigint, text[]);
create index presence_by_user on perch.presence (user_id) where kind = 'persisted';
alter table perch.presence drop column brought_by;
