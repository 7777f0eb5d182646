-- jsonb compares 1 and 1.0 as equal and writes them apart. Strings are matched first, so that nothing in them is
-- touched; of the numbers only those with a fraction that ends in 0 are written anew, and few texts have any.
create or replace function perch.plain_numbers(content text)
returns text
language sql immutable parallel safe
return case when content like '%.%0%' and content ~ '[.][0-9]*0(?:[],}]|$)'
            then regexp_replace(content, E'("(?:[^"\\\\]|\\\\.)*")|[.]0+(?![0-9])|([.][0-9]*[1-9])0+(?![0-9])',
              E'\\1\\2', 'g')
            else content end;

comment on function perch.plain_numbers(text) is
  'Private. The text of a jsonb value, the same for values that are equal: its numbers without zeros at the end of their fractions.';
