-- A function has another name now.

-- Up Migration

drop function if exists perch.shape_news(bigint);

-- Down Migration

drop function if exists perch.changed_tables(bigint);
