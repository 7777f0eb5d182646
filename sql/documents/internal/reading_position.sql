create or replace function perch.reading_position(
  space_id text, app_id text, table_name text, record_id text, after_seq bigint, after_revision bigint default null
)
returns table (
  with_snapshot boolean, snapshot_seq bigint, tail_after bigint, head_seq bigint, incarnation_seq bigint,
    projection_bytes bigint,
  head_revision bigint, leads_on boolean
)
language sql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
  select coalesce(s.needed, false),
         coalesce(d.snapshot_seq, 0),
         case
           when s.needed then d.snapshot_seq
           when p.leads_on is not true then d.incarnation_seq
           else greatest(after_seq, d.incarnation_seq)
         end,
         coalesce(d.merged_seq, t.seq, 0),
         coalesce(d.incarnation_seq, t.seq, 0),
         coalesce(d.projection_bytes, 0),
         coalesce(d.revision, 0),
         p.leads_on
    from (values (true)) as one_row
    left join perch.documents d
      on d.space_id = reading_position.space_id and d.app_id = reading_position.app_id
     and d.table_name = reading_position.table_name and d.record_id = reading_position.record_id
    left join perch.document_tombstones t
      on d.space_id is null
     and t.space_id = reading_position.space_id and t.app_id = reading_position.app_id
     and t.table_name = reading_position.table_name and t.record_id = reading_position.record_id
   cross join lateral (
     select case
              when d.space_id is null then after_seq = coalesce(t.seq, 0) and coalesce(after_revision, 0) = 0
              else perch.has_position(d, after_seq, after_revision)
            end as leads_on
   ) p
    -- The tail alone suffices for a reader who is somewhere in it. One at the beginning is better served by the
    -- snapshot, and one who has what the database has not (it went back to an earlier state) needs everything.
   cross join lateral (
     select d.snapshot_seq > d.incarnation_seq and (after_seq <= d.incarnation_seq or p.leads_on is not true) as needed
   ) s
$$;
grant execute on function perch.reading_position to perch_worker;

comment on function perch.reading_position(text, text, text, text, bigint, bigint) is
  'Private. What a reader with after_seq (and after_revision, which identifies it; null: only the numbers are compared) has to be given of a document, to be at head_seq and head_revision: the snapshot (with_snapshot), and the updates behind tail_after (null when there is no document). Always one row; head_seq 0 when there never was such a document. incarnation_seq: where this incarnation of it began. leads_on: as perch.has_position: whether the reader''s position is one of this document.';
