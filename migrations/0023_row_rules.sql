-- Who sees what of a synced table: the function that evaluates its row_filter, and what tells readers that its rules are others now.

-- Up Migration

alter table perch.synced_relations add column filter_function text, add column rules_mark uuid;
comment on column perch.synced_relations.filter_function is
  'The function that evaluates row_filter on many rows at once, of the table''s owner: see perch.make_row_filter. Null: no filter.';
comment on column perch.synced_relations.rules_mark is
  'Another whenever row_filter or column_roles were changed; null where there never were any. What was read under another one does not go on.';

-- It takes one argument more now.
drop function if exists perch.note_synced_table(regclass, text, text, name, text, text, name[], name[], jsonb, text, jsonb, boolean);

-- Down Migration

alter table perch.synced_relations drop column filter_function, drop column rules_mark;
