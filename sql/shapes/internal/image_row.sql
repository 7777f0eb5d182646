-- What the log has of a row is as the table was then: of a column that nothing here asks for it may have what the
-- column takes no more, or what JSON did not keep. So of a row no more is read than is asked for: the columns that
-- these texts name, as perch_row.column (be it in a constant: then one too many is read), and the key. All are read
-- where the row is an argument as a whole, as it is for rules.
create or replace function perch.image_row(relation oid, image text, texts text)
returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
  select format('jsonb_to_record(%s) perch_row (%s)', image, perch.typed_columns(image_row.relation, array(
    select a.attname::text from pg_attribute a
     where a.attrelid = image_row.relation and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
       and (strpos(texts, format('perch_row.%I', a.attname)) > 0 or strpos(texts, 'perch_row.*') > 0
            or a.attname = any (perch.key_columns(image_row.relation))))))
$$;

comment on function perch.image_row(oid, text, text) is
  'Private. For FROM: a row perch_row of an image (an expression), read back by the columns that these texts name.';
