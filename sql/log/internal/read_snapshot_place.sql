-- A place as perch.snapshot_text gives it out: [2, terms, space, seq, mark, table, id], with patience behind it where
-- it is a row of a synced table, before which all records come (perch.synced_page).
create or replace function perch.read_snapshot_place(
  after text, space_id text,
  out terms text, out seq bigint, out mark text, out table_name text, out record_id text, out is_row boolean,
  out patience integer
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  token jsonb;
begin
  if after is null then
    table_name := '';
    record_id := '';
    is_row := false;
    patience := 1;
    return;
  end if;
  begin
    token := convert_from(decode(after, 'base64'), 'UTF8')::jsonb;
    seq := (token ->> 3)::bigint;
    patience := least(greatest((token ->> 7)::integer, 1), 1000000);
  exception when data_exception then
    token := null;
  end;
  if token -> 0 is distinct from '2' or token ->> 2 is distinct from read_snapshot_place.space_id or seq is null
     or jsonb_array_length(token) not in (7, 8)
  then
    perform perch.fail('PE422', 'after is not what a page of this space gave as next',
      jsonb_build_object('argument', 'after'),
      'Pass next of the last page as it came, with the same space; null begins anew.');
  end if;
  terms := token ->> 1;
  mark := token ->> 4;
  table_name := token ->> 5;
  record_id := token ->> 6;
  is_row := jsonb_array_length(token) = 8;
end
$$;

comment on function perch.read_snapshot_place(text, text) is
  'Private. Where a snapshot of a space goes on: the position at which it is taken (terms, seq, mark; null with the first page) and the last record, or row of a synced table, of the page before. Errors: PE422 when after is of something else.';
