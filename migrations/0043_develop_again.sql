-- Whoever asks first for a table in development mode syncs it, and nobody else again.

-- Up Migration

drop function if exists perch.sync_for_development(text, text, text);

-- Down Migration

drop function if exists perch.sync_for_development(text, text, text, boolean);
