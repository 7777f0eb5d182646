-- What an encrypted document had before it was deleted is compared with all records of a batch at once.

-- Up Migration

drop function if exists perch.encrypted_refusal(perch.encrypted_documents, perch.encrypted_records, boolean);

-- Down Migration

drop function if exists perch.encrypted_refusal(perch.encrypted_records, boolean, boolean);
