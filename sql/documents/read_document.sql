-- One statement, hence one snapshot of the database: positions, snapshot and tail belong together.
create or replace function perch.read_document(space_id text, app_id text, table_name text, record_id text, after_seq bigint)
returns table (snapshot bytea, snapshot_seq bigint, seqs bigint[], updates bytea[], head_seq bigint, projection_bytes bigint)
language sql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
  with position as (
    select d.*, greatest(after_seq, d.life_seq) as after_position,
           -- The tail alone suffices for a reader who is somewhere in it. One at the beginning is better served by the snapshot,
           -- and one who is ahead of the document (it was restored from a backup) needs everything.
           d.snapshot_seq > d.life_seq and (after_seq <= d.life_seq or after_seq < d.tail_from or after_seq > d.merged_seq) as with_snapshot
      from perch.documents d
     where d.space_id = read_document.space_id and d.app_id = read_document.app_id
       and d.table_name = read_document.table_name and d.record_id = read_document.record_id
  )
  select s.snapshot,
         p.snapshot_seq,
         coalesce(t.seqs, '{}'),
         coalesce(t.updates, '{}'),
         coalesce(p.merged_seq, (
           select x.seq from perch.document_tombstones x
            where x.space_id = read_document.space_id and x.app_id = read_document.app_id
              and x.table_name = read_document.table_name and x.record_id = read_document.record_id), 0),
         coalesce(p.projection_bytes, 0)
    from (values (true)) as one_row
    left join position p on true
    left join perch.document_snapshots s
      on p.with_snapshot and s.space_id = p.space_id and s.app_id = p.app_id and s.table_name = p.table_name and s.record_id = p.record_id
    left join lateral (
      select array_agg(u.seq order by u.seq) as seqs, array_agg(u.payload order by u.seq) as updates
        from perch.document_updates u
       where u.space_id = p.space_id and u.app_id = p.app_id and u.table_name = p.table_name and u.record_id = p.record_id
         and u.seq > case
               when p.with_snapshot then p.snapshot_seq
               when after_seq > p.merged_seq then p.life_seq
               else p.after_position
             end
    ) t on true
$$;

comment on function perch.read_document(text, text, text, text, bigint) is
  'Private. What a reader with after_seq lacks of a document: a null snapshot when the tail alone suffices. Always one row; head_seq 0 when there never was such a document.';
