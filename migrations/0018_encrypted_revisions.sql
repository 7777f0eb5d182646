-- What identifies the record at a position of an encrypted document, as 0011 does for the updates of others; and what identifies the
-- position of a push, which may be the base of the next.

-- Up Migration

-- Constant defaults: no row is rewritten.
alter table perch.encrypted_documents add column revision bigint not null default 0;
comment on column perch.encrypted_documents.revision is 'The revision of the record at head_seq; 0 where this life has none.';
alter table perch.encrypted_records add column revision bigint not null default 0;
comment on column perch.encrypted_records.revision is
  'A number drawn at random for the transaction that appended it: tells the record at this position from another that the database gives the same position after it went back. 0: from before there were any.';

alter table perch.document_inbox add column revision bigint not null default 0;
comment on column perch.document_inbox.revision is 'A number drawn at random for this push: identifies its position, as document_updates.pushed_revision afterwards.';
alter table perch.document_updates add column pushed_revision bigint;
comment on column perch.document_updates.pushed_revision is 'The revision of the push that this was merged from; what identifies pushed_seq.';

-- These get other arguments or another result (see sql/).
drop function if exists perch.append_encrypted(text, text, text, text, bigint, text[], boolean[], bytea[], bigint[], bigint[], jsonb[], bytea[], bytea[]);
drop function if exists perch.encrypted_news(text, text, text, text, bigint);
drop function if exists perch.encrypted_state(text, text, text, text, bytea[], bigint[]);
drop function if exists perch.append_to_inbox(text, text, text, text, text, bytea, jsonb, bigint, text, text, bigint);
drop function if exists perch.push_document(perch.change, text, text);
drop function if exists perch.push_documents(perch.change[], text, text, jsonb[], text[]);

-- Down Migration

alter table perch.document_updates drop column pushed_revision;
alter table perch.document_inbox drop column revision;
alter table perch.encrypted_records drop column revision;
alter table perch.encrypted_documents drop column revision;
