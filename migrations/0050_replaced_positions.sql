-- A node that has given its readers a document up to a record can go on from there when the record has been replaced since.

-- Up Migration

alter table perch.encrypted_documents add column replaced bigint[] not null default '{}';
comment on column perch.encrypted_documents.replaced is
  'Of the records that others replaced last: the position and the revision of each, in turn, the latest first.';

-- Down Migration

alter table perch.encrypted_documents drop column replaced;
