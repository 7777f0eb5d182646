-- Functions that take one argument more now.

-- Up Migration

drop function if exists perch.adopt_row(text, text, text, text);
drop function if exists perch.claim_column_writes(text, text, text, text, integer);

-- Down Migration
