-- Up to which position the log of a space has been forgotten: for readers of all spaces at once, who stand at a position.

-- Up Migration

alter table perch.space_heads add column pruned_position bigint not null default 0;
comment on column perch.space_heads.pruned_position is
  'The greatest sync_changes.position among the entries that were forgotten here; 0: none had one.';

-- Down Migration

alter table perch.space_heads drop column pruned_position;
