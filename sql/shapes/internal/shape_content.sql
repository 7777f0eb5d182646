-- By itself it says nothing of who reads: what is the same for all is told together only where it is the same.
create or replace function perch.shape_content(
  schema_name text, relation_name text, spaces text[], after_position bigint, upto bigint
)
returns text
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
  synced constant perch.synced_relations := perch.open_relation(shape_content.schema_name,
    shape_content.relation_name);
begin
  perform perch.require_history(synced, spaces, after_position);
  perform perch.require_history(synced, spaces, upto);
  return perch.content_digest(synced);
end
$$;
grant execute on function perch.shape_content to perch_worker;

comment on function perch.shape_content(text, text, text[], bigint, bigint) is
  'Private. What perch.content_digest says of a synced table, by its schema and name in the database. PE404; PE410 when entries behind a position were forgotten in one of the spaces.';
