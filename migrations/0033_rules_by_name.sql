-- Functions take other arguments now.

-- Up Migration

drop function if exists perch.rows_in_sight(text, text, jsonb[]);
drop function if exists perch.make_row_filter(regclass, text, jsonb);

-- Down Migration

drop function if exists perch.rows_in_sight(perch.synced_relations, jsonb[]);
drop function if exists perch.make_row_filter(regclass, text, jsonb, name[], jsonb);
drop function if exists perch.require_same_rules(perch.synced_relations);
