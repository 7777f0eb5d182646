create or replace function perch.log_changes(changes perch.change[], app_id text, client_id text, author text, now timestamptz)
returns perch.change[]
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  seqs bigint[];
  slow perch.change[];
  slow_seqs bigint[];
begin
  -- The counters, in the order of every writer; each change then gets the next number of its space.
  with heads as (
    insert into perch.space_heads as h (space_id, seq)
    select c.space_id, count(*) from unnest(changes) c group by c.space_id order by c.space_id
    on conflict on constraint space_heads_pkey do update set seq = h.seq + excluded.seq
    returning h.space_id, h.seq
  ),
  numbered as (
    select c.position, row_number() over (partition by c.space_id order by c.position) - count(*) over (partition by c.space_id) as behind, c.space_id
      from unnest(changes) c
  )
  select array_agg(h.seq + n.behind order by n.position) into seqs
    from numbered n join heads h on h.space_id = n.space_id;

  if exists (select from unnest(changes) c where c.timeless) then
    changes := perch.time_changes(changes, log_changes.app_id, now);
  end if;

  perform perch.merge_changes(changes, seqs, log_changes.app_id, log_changes.client_id, author);

  insert into perch.sync_changes
    (space_id, seq, app_id, table_name, record_id, op, data, field_meta, at, deleted_at, user_id, client_id, op_id, schema_version, actor, origin, size, created_at)
  select c.space_id, c.seq, log_changes.app_id, c.table_name, c.record_id, c.op, c.data, c.field_meta, c.at, r.deleted_at, author,
         log_changes.client_id, c.op_id, c.schema_version, c.actor, c.origin, c.size, now
    from unnest(changes, seqs) as c (position, space_id, table_name, record_id, op, data, field_meta, at, timeless, earliest, latest,
           op_id, digest, schema_version, base_seq, actor, origin, size, is_document, seq)
    join perch.stored_records r
      on r.space_id = c.space_id and r.app_id = log_changes.app_id and r.table_name = c.table_name and r.record_id = c.record_id
   order by c.position;

  for nth in 1 .. cardinality(changes) loop
    changes[nth].base_seq := seqs[nth];
  end loop;
  return changes;
end
$$;

comment on function perch.log_changes(perch.change[], text, text, text, timestamptz) is
  'Private. Numbers checked changes, folds them into their records and logs them. Returns them with their seq in base_seq.';
