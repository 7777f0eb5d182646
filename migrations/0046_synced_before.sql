-- What is noted of a synced table takes whether its rows have the ids that they had.

-- Up Migration

drop function if exists perch.note_synced_table(
  regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb, boolean, text, boolean);

-- Down Migration

drop function if exists perch.note_synced_table(
  regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb, boolean, text, boolean, boolean);
