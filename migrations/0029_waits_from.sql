-- Whether anything of a space waits is asked by every push, so it is looked for where it can be, and not among all that was given its
-- number and is not vacuumed away yet.

-- Up Migration

alter table perch.sequencer add column waits_from xid8 not null default '0';
comment on column perch.sequencer.waits_from is
  'Whatever has no number was written by this transaction or a later one: the oldest that was open when nothing was left.';
comment on column perch.sequencer.noted_at is
  'When bound and open_txids were noted: some times a second, so that the row is not written with every batch.';

create index captured_changes_of_space on perch.captured_changes (space_id, txid);
drop index perch.captured_changes_by_space;

-- They return something else now.
drop function if exists perch.choose_captured(bigint, xid8[], bigint, integer);

-- Down Migration

drop function if exists perch.choose_captured(bigint, xid8[], bigint, integer);
create index captured_changes_by_space on perch.captured_changes (space_id);
drop index perch.captured_changes_of_space;
alter table perch.sequencer drop column waits_from;
