-- Functions that return something else now, or that have another name.

-- Up Migration

drop function if exists perch.json_error(text);
drop function if exists perch.log_heads(text[]);
drop function if exists perch.peer_authors(text, text, text, text, text[]);

-- Down Migration
