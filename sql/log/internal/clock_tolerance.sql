create or replace function perch.clock_tolerance()
returns interval
language sql stable parallel safe
return make_interval(secs => perch.setting('clock_tolerance_ms', 5000) / 1000.0);

comment on function perch.clock_tolerance() is
  'Private. How far a client''s clock may be ahead of the server''s before its times are set back: the limit clock_tolerance_ms, 5 seconds unless set.';
