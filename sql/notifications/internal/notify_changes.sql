-- Deferred constraint trigger of the counters, so that a transaction notifies once a space. A notification is a hint,
-- not the truth: the payload names the space and a number, never content, because channels are not under RLS. Postgres
-- delivers it after commit, when everything up to that number can be read.
--
-- The trigger belongs to the counter, which every way of writing takes, and is deferred: so it is the last thing a
-- transaction does, and however often the transaction took numbers of a space, all its notifications for that space
-- name the last one and are the same, of which Postgres sends one. (Of the rows that are left to a worker each names
-- its own; perch.notify_deferred makes one notification of them.)
--
-- A transaction that notifies holds a lock of the whole cluster until its commit is on disk, so busy writers would
-- queue for it. While a worker polls (perch.notifier), they leave a row instead, and the worker notifies for all of
-- them at once (perch.notify_deferred). No notification is lost by that:
-- * the row is committed together with the changes, so whoever polls after that commit finds it; that the promise to
--   poll runs out between our reading it and our commit, or is given up, does not matter as long as somebody ever polls
--   again;
-- * every worker polls when it starts, while it promises to, and slowly for as long as it lives: so with any worker
--   alive a notification is late by that slow poll at most;
-- * with all workers gone, writers notify themselves as soon as the promise has run out; a row left over before that
--   waits for the next worker, or the next writer in that space, or the listener's own slow poll, whichever comes
--   first;
-- * a crash empties the table, and ends every listener's connection, who then read without being notified. A snapshot
--   that is older (repeatable read) can only show an earlier end of the promise than is true, so the writer notifies.
create or replace function perch.notify_changes()
returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  last bigint;
begin
  insert into perch.deferred_notifications (space_id, seq)
  select new.space_id, new.seq from perch.notifier n
   -- The sequencer is one at a time, and readers wait for it alone (perch.number_captured).
   where n.polls_until > clock_timestamp() and coalesce(current_setting('perch.notifies_itself', true), '') <> 'on';
  if not found then
    select h.seq into last from perch.space_heads h where h.space_id = new.space_id;
    perform pg_notify('perch_changes', perch.changes_notification(new.space_id, last));
  end if;
  return null;
end
$$;

comment on function perch.notify_changes() is
  'Private. Trigger of the counters: notifies on perch_changes once a transaction and space, or leaves that to the worker that polls.';
