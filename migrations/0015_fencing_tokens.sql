-- Everything that changes a thread takes a fencing token: these functions have an argument more, and are made anew by sql/.

-- Up Migration

drop function if exists perch.fork_checkpoint(text, uuid, text, jsonb);
drop function if exists perch.delete_thread(text);
drop function if exists perch.prune_checkpoints(integer, interval, text);
drop function if exists perch.prune_thread(text, text, integer, interval);
drop function if exists perch.archive_thread_events(text, bigint);
drop function if exists perch.add_long_write(text, bigint, uuid, text, integer, text, text, boolean);

-- Down Migration

-- What sql/ defines is dropped and made again by whatever version goes on from here.
