-- What identifies the update at a position of a document. Numbers alone do not: a database that went back to an earlier state (a
-- failover to a standby that lacked commits, a restore) gives them out again.

-- Up Migration

-- A constant default: no row is rewritten.
alter table perch.document_updates add column revision bigint not null default 0;
comment on column perch.document_updates.revision is
  'A number drawn at random for the transaction that appended it: tells the update at this position from another that the database gives the same position after it went back. 0: from before there were any.';
alter table perch.documents add column revision bigint not null default 0;
comment on column perch.documents.revision is 'The revision of the update at merged_seq; 0 where this life has none.';
alter table perch.document_snapshots add column revision bigint not null default 0;
comment on column perch.document_snapshots.revision is 'The revision of the update at seq.';

-- Who first sent a span of a peer, to whom it belongs from then on; and what tells a ciphertext, which must not be stored in a second document.
alter table perch.encrypted_reaches add column user_id text collate "C";
comment on column perch.encrypted_reaches.user_id is 'Who first sent a span of this peer: only theirs move its reach.';
-- Row level security is forced on the owner, too.
alter table perch.encrypted_reaches no force row level security;
alter table perch.encrypted_records no force row level security;
update perch.encrypted_reaches x
   set user_id = (select r.user_id from perch.encrypted_records r
                   where r.space_id = x.space_id and r.app_id = x.app_id and r.table_name = x.table_name
                     and r.record_id = x.record_id and r.peer_id = x.peer_id
                   order by r.seq limit 1);
alter table perch.encrypted_reaches force row level security;
alter table perch.encrypted_records force row level security;
alter table perch.encrypted_records add column mark bytea;
comment on column perch.encrypted_records.mark is 'The iv and the tag of the ciphertext; null: from before they were noted.';
create index encrypted_records_by_mark on perch.encrypted_records (space_id, mark) where mark is not null;

alter table perch.presence add column user_id text collate "C";
comment on column perch.presence.user_id is 'Whose key it is: the user of the connection that set it; null: nobody''s yet.';
alter table perch.presence add column held_until timestamptz;
comment on column perch.presence.held_until is 'Until when nobody else may set the key.';
create index presence_by_user on perch.presence (user_id) where kind = 'persisted';

-- Down Migration

alter table perch.presence drop column held_until;
alter table perch.presence drop column user_id;
alter table perch.encrypted_records drop column mark;
alter table perch.encrypted_reaches drop column user_id;
alter table perch.document_snapshots drop column revision;
alter table perch.documents drop column revision;
alter table perch.document_updates drop column revision;
