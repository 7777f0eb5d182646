-- All of it is done as in any push, in a subtransaction, which is undone when one was rejected. With it go the
-- receipts: so the same push may be sent again, as a whole or in parts, and one whose answer was lost is answered from
-- them.
create or replace function perch.push_atomic(app_id text, changes jsonb, client_id text, now timestamptz)
returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  answer jsonb;
begin
  begin
    answer := perch.push_many(push_atomic.app_id, push_atomic.changes, push_atomic.client_id, push_atomic.now);
    if answer @@ 'exists($.results[*] ? (@.status == "rejected"))' then
      raise exception using errcode = 'PE499', message = 'one of an atomic push was rejected';
    end if;
  -- What a variable was given stays.
  exception when sqlstate 'PE499' then
    answer := perch.aborted(answer);
  end;
  return answer;
end
$$;

comment on function perch.push_atomic(text, jsonb, text, timestamptz) is
  'Private. What perch.push does with changes of which all or none are to apply.';
