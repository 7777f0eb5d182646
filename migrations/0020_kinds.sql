-- The kinds of fields as rows: what perch.declare_table and perch.check_patch know of each. A new kind is one row (and one file of
-- TypeScript, src/documents/loro/); a test compares the two.

-- Up Migration

create table perch.field_kinds (
  kind         text collate "C" not null primary key,
  is_container boolean not null,
  json_types   text[] not null,
  rule         text check (rule in ('datetime', 'integer')),
  place        integer not null
);
comment on table perch.field_kinds is 'The kinds that a field of a document may have (perch.declare_table).';
comment on column perch.field_kinds.is_container is
  'Whether a field of this kind is a root container of its own, which merges inside; otherwise it is a key of the root map "fields", and the last writer wins.';
comment on column perch.field_kinds.json_types is 'What jsonb_typeof may say of the value in a patch; null always clears the field.';
comment on column perch.field_kinds.rule is 'What else perch.check_patch asks of the value.';
comment on column perch.field_kinds.place is 'The order in which error messages name them.';

insert into perch.field_kinds (kind, is_container, json_types, rule, place) values
  ('string',       false, '{string}',                             null,       1),
  ('number',       false, '{number}',                             null,       2),
  ('integer',      false, '{number,string}',                      'integer',  3),
  ('boolean',      false, '{boolean}',                            null,       4),
  ('datetime',     false, '{string}',                             'datetime', 5),
  ('json',         false, '{string,number,boolean,array,object}', null,       6),
  ('text',         true,  '{string}',                             null,       7),
  ('list',         true,  '{array}',                              null,       8),
  ('movable_list', true,  '{array}',                              null,       9),
  ('tree',         true,  '{array}',                              null,       10),
  ('counter',      true,  '{number}',                             null,       11),
  ('map',          true,  '{object}',                             null,       12);

drop function if exists perch.field_kinds();
drop function if exists perch.check_patch(text, jsonb, jsonb);

-- Down Migration

drop table perch.field_kinds;
