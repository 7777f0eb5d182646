-- Where a reader stands in the log of each space, as one value.

-- Up Migration

create type perch.log_place as (
  space_id text,
  start bigint,
  mark text,
  head bigint,
  head_mark text,
  stop bigint,
  role text
);

comment on type perch.log_place is
  'Private. Where a reader stands in the log of a space: behind entry start, whose perch.entry_mark is mark; the last entry is head; the page goes to stop. role: theirs in the space, where tables have rules.';

drop function if exists perch.short_page(text[], bigint[], bigint[], bigint[], text, text[], text, text[], integer);

-- Down Migration

drop type perch.log_place;
