-- One statement, hence one snapshot of the database: an update at or below a document's head_seq is in its row here, or
-- it is older than after_seq. A document that is up to date costs two index look-ups.
create or replace function perch.missed_updates(
  space_ids text[], app_ids text[], table_names text[], record_ids text[], after_seqs bigint[], after_revisions bigint[]
)
returns table (
  head_seq bigint, head_revision bigint, leads_on boolean, seqs bigint[], revisions bigint[], updates bytea[]
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
-- Planning anew for each call would cost as much as the call.
set plan_cache_mode = force_generic_plan
as $$
begin
  return query
    select coalesce(d.merged_seq, t.seq, 0), coalesce(d.revision, 0), coalesce(p.leads_on, false),
           coalesce(u.seqs, '{}'), coalesce(u.revisions, '{}'), coalesce(u.updates, '{}')
      from unnest(space_ids, app_ids, table_names, record_ids, after_seqs, after_revisions) with ordinality
             as e (space_id, app_id, table_name, record_id, after_seq, after_revision, ordinal)
      left join perch.documents d
        on d.space_id = e.space_id and d.app_id = e.app_id and d.table_name = e.table_name and d.record_id = e.record_id
      left join perch.document_tombstones t
        on d.space_id is null
       and t.space_id = e.space_id and t.app_id = e.app_id and t.table_name = e.table_name and t.record_id = e.record_id
     cross join lateral (
       select case when d.space_id is null then e.after_seq = coalesce(t.seq, 0) and e.after_revision = 0
                   when e.after_seq = d.merged_seq and e.after_revision = d.revision then true
                   else perch.has_position(d, e.after_seq, e.after_revision) end as leads_on
     ) p
      left join lateral (
        select array_agg(x.seq order by x.seq) as seqs, array_agg(x.revision order by x.seq) as revisions,
               array_agg(x.payload order by x.seq) as updates
          from perch.document_updates x
         where p.leads_on and d.merged_seq > e.after_seq
           and x.space_id = d.space_id and x.app_id = d.app_id
           and x.table_name = d.table_name and x.record_id = d.record_id
           and x.seq > e.after_seq and x.seq <= d.merged_seq
      ) u on true
     order by e.ordinal;
end
$$;
grant execute on function perch.missed_updates to perch_worker;

comment on function perch.missed_updates(text[], text[], text[], text[], bigint[], bigint[]) is
  'Private. What was appended to each of many documents after the position that somebody has, one array element and one row a document, in their order. leads_on: whether it leads on from there, as far as can be told (perch.has_position); else there are no updates here.';
