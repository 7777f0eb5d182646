-- Results of changes that are rejected say what to do: these took no hint.

-- Up Migration

drop function if exists perch.refusal(perch.change, text, text, text, text, text);
drop function if exists perch.call_refusal(perch.change, text, text, text, text, text);
drop function if exists perch.row_refusal(perch.change, text, text, text, text, text);

-- Down Migration

drop function if exists perch.refusal(perch.change, text, text, text, text, text, text);
drop function if exists perch.call_refusal(perch.change, text, text, text, text, text, text);
drop function if exists perch.row_refusal(perch.change, text, text, text, text, text, text);
