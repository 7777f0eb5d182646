-- Documents in columns of tables with rules: what is asked of a row is asked of its document, too.

-- Up Migration

drop function if exists perch.readable_space(text, text, text[], text[]);
drop function if exists perch.make_row_filter(regclass, text);
drop function if exists perch.spaces_of_users(text[]);

-- A version is as long as the list of all who ever wrote: it is noted only where the tail does not say it any more.
alter table perch.row_documents alter column shown_version drop not null;
comment on column perch.row_documents.shown_version is
  'The version at that position (as document_updates.ends): what a statement that writes the columns is based on. Null: history and tail say it.';

-- Down Migration

drop function if exists perch.make_row_filter(regclass, text, jsonb);
drop function if exists perch.spaces_of_users(text[]);
-- As perch.document_version says it, which is gone by now.
update perch.row_documents d
   set shown_version = coalesce((
         select json_object_agg(p.peer, p.counter)::jsonb
           from (
             select e.key as peer, max(e.value::bigint) as counter
               from (
                 select h.ends from perch.document_history h
                  where h.space_id = d.space_id and h.app_id = d.app_id and h.table_name = d.table_name
                    and h.record_id = d.record_id and h.seq <= d.shown_seq
                 union all
                 select u.ends from perch.document_updates u
                  where u.space_id = d.space_id and u.app_id = d.app_id and u.table_name = d.table_name
                    and u.record_id = d.record_id and u.seq <= d.shown_seq) x
              cross join lateral jsonb_each_text(x.ends) e
              group by e.key) p), '{}')
 where d.shown_version is null;
alter table perch.row_documents alter column shown_version set not null;
