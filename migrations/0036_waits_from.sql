-- What is asked of the queue is taken in by the queries that ask it.

-- Up Migration

drop function if exists perch.is_waiting(text);
drop function if exists perch.waits_from();

-- Down Migration

drop function if exists perch.waiting_in(text);
drop function if exists perch.waits_from();
