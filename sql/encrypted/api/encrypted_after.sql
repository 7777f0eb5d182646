create or replace function perch.encrypted_after(space_id text, app_id text, table_name text, record_id text,
  after_seq bigint, after_revision bigint default null)
returns table (head_seq bigint, incarnation_seq bigint, seqs bigint[], records bytea[], head_revision bigint,
  leads_on boolean)
language sql stable
set search_path = pg_catalog, pg_temp
rows 1
as $$
  select coalesce(d.head_seq, 0), coalesce(d.incarnation_seq, 0), coalesce(r.seqs, '{}'), coalesce(r.records, '{}'),
         coalesce(d.revision, 0),
         case when d.space_id is null then after_seq = 0
           else perch.has_encrypted_position(d, after_seq, after_revision) end
    from (values (true)) as one_row
    left join perch.encrypted_documents d
      on d.space_id = encrypted_after.space_id and d.app_id = encrypted_after.app_id
     and d.table_name = encrypted_after.table_name and d.record_id = encrypted_after.record_id
    left join lateral (
      select array_agg(x.seq order by x.seq) as seqs, array_agg(x.payload order by x.seq) as records
        from perch.encrypted_records x
       where x.space_id = d.space_id and x.app_id = d.app_id and x.table_name = d.table_name
         and x.record_id = d.record_id
         and x.seq > encrypted_after.after_seq
    ) r on true
$$;
grant execute on function perch.encrypted_after to perch_worker;

comment on function perch.encrypted_after(text, text, text, text, bigint, bigint) is
  'For perch_worker: the records of an encrypted document behind a position; leads_on: whether they go on from there, which is not so when the database went back and has something else at the position, and null when the record at the position was replaced by others since. after_revision: what identifies the position; null: only the numbers are compared. Always one row.';
