-- Filters of shapes may have sub-selects: what makes their texts knows the moment that they are about.

-- Up Migration

drop function if exists perch.filter_sql(jsonb, jsonb, integer);
drop function if exists perch.filter_list(jsonb, jsonb, integer);
drop function if exists perch.filter_text(jsonb, jsonb);
drop function if exists perch.shape_space(perch.synced_relations, text[], boolean);
drop function if exists perch.shape_texts(perch.synced_relations, text[], jsonb, text[]);
drop function if exists perch.shape_changes_query(perch.synced_relations, text, text, text, text[], boolean);
drop function if exists perch.shape_changes(text, text, bigint, bigint, jsonb, text[], boolean, bigint, integer,
  integer);

-- Down Migration
