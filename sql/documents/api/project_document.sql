-- Lock order: the document, its record, and last the counter of the space (docs/architecture.md, "The order of locks").
--
-- An app may call in any order within one transaction: it may have pushed to the space, so that it holds the counter, and wait
-- for the document. So this never waits for one of the two while it holds the other. The counter is only tried. When it is
-- taken, the document is given back (a block that fails gives back the locks that it took), and the counter is waited for
-- with nothing in hand; then it is the document that is only tried, for as long as an append may take to commit.
create or replace function perch.project_document(
  space_id text, app_id text, table_name text, record_id text, seq bigint, data jsonb, size bigint, revision bigint default null
)
returns table (logged_seq bigint, tail_count bigint, tail_bytes bigint)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  document perch.documents;
  is_new boolean;
  short jsonb;
  short_before jsonb;
  long jsonb;
  bytes integer;
  longs_before text[];
  longs text[];
  moves boolean;
  author record;
  changed text[];
  moment timestamptz;
  logged bigint;
  counter_taken boolean := false;   -- by somebody else, when it was tried
  patience constant interval := '25 milliseconds';
  until timestamptz;
begin
  for attempt in 1 .. 2 loop
    begin
      if attempt = 1 then
        select d.* into document from perch.documents d
         where d.space_id = project_document.space_id and d.app_id = project_document.app_id
           and d.table_name = project_document.table_name and d.record_id = project_document.record_id
           for no key update;
      else
        perform perch.lock_heads(array[project_document.space_id]);
        until := clock_timestamp() + patience;
        loop
          select d.* into document from perch.documents d
           where d.space_id = project_document.space_id and d.app_id = project_document.app_id
             and d.table_name = project_document.table_name and d.record_id = project_document.record_id
             for no key update skip locked;
          exit when found or not exists (
            select from perch.documents d
             where d.space_id = project_document.space_id and d.app_id = project_document.app_id
               and d.table_name = project_document.table_name and d.record_id = project_document.record_id);
          if clock_timestamp() > until then
            raise exception 'somebody holds the document, and the counter of its space was waited for' using errcode = 'lock_not_available';
          end if;
          perform pg_sleep(0.002);
        end loop;
      end if;
      -- Deleted meanwhile, or the caller has an earlier incarnation, or what a database that went back has lost.
      if document.space_id is null or project_document.seq <= document.incarnation_seq
         or perch.has_position(document, project_document.seq, project_document.revision) is not true then
        return;
      end if;

      exit when project_document.seq <= document.projected_seq;
      -- In memory once: each look at a value that is stored compressed would unpack it again.
      select r.deleted, r.data || '{}', r.long_data || '{}', r.long_fields, r.size into is_new, short_before, long, longs_before, bytes
        from perch.stored_records r
       where r.space_id = document.space_id and r.app_id = document.app_id
         and r.table_name = document.table_name and r.record_id = document.record_id
         for no key update;
      is_new := coalesce(is_new, true);
      select array_agg(n.key order by n.key) filter (where is_new or n.value is distinct from coalesce(short_before -> n.key, long -> n.key)),
             array_agg(n.key order by n.key) filter (where perch.is_long(n.value))
        into changed, longs
        from jsonb_each(project_document.data) n;
      exit when changed is null or attempt = 2;
      perform from perch.space_heads h where h.space_id = document.space_id for no key update skip locked;
      exit when found;
      counter_taken := true;
      raise exception 'the counter of the space is taken' using errcode = 'lock_not_available';
    exception when lock_not_available then
      if attempt = 2 or not counter_taken then
        raise;
      end if;
      document := null;
      changed := null;
    end;
  end loop;

  if changed is not null then
    -- As perch.write_document: where the names are the same and none of these has changed, long_data stays as it is.
    moves := is_new or longs is distinct from longs_before or coalesce(longs && changed, false);
    short := project_document.data - coalesce(longs, '{}');
    if moves then
      long := (select jsonb_object_agg(f, project_document.data -> f) from unnest(longs) f);
    end if;
    -- What stays as it is need not be written out to be measured.
    bytes := case when moves or bytes is null then perch.record_size(short, long, null, null)
                  else nullif(greatest(bytes - octet_length(short_before::text) + octet_length(short::text), 4000), 4000) end;
    select u.user_id, u.client_id into author from perch.document_updates u
     where u.space_id = document.space_id and u.app_id = document.app_id
       and u.table_name = document.table_name and u.record_id = document.record_id
       and u.seq <= project_document.seq
     order by u.seq desc limit 1;

    moment := clock_timestamp();
    logged := perch.next_seq(document.space_id, moment);
    insert into perch.sync_changes (space_id, seq, app_id, table_name, record_id, op, changed_fields, at, user_id, client_id, origin, created_at)
    values (document.space_id, logged, document.app_id, document.table_name, document.record_id,
            case when is_new then 'insert' else 'update' end,
            changed, moment, coalesce(author.user_id, document.created_by), author.client_id, 'document', moment);
    insert into perch.stored_records as r
      (space_id, app_id, table_name, record_id, data, long_data, long_fields, latest_at, inserted_at, seq, user_id, size)
    values (document.space_id, document.app_id, document.table_name, document.record_id,
            short, case when moves then long end, longs, clock_timestamp(), clock_timestamp(), logged, document.created_by, bytes)
    on conflict on constraint stored_records_pkey do update
      set data = excluded.data, long_data = case when moves then excluded.long_data else r.long_data end, long_fields = excluded.long_fields,
          size = excluded.size, latest_at = excluded.latest_at, seq = excluded.seq, updated_at = clock_timestamp(),
          inserted_at = case when r.deleted then excluded.inserted_at else r.inserted_at end,
          user_id = case when r.deleted then excluded.user_id else r.user_id end,
          deleted = false;
  end if;

  update perch.documents d
     set projected_seq = greatest(d.projected_seq, project_document.seq), projection_bytes = project_document.size
   where d.space_id = document.space_id and d.app_id = document.app_id
     and d.table_name = document.table_name and d.record_id = document.record_id;
  if greatest(document.projected_seq, project_document.seq) = document.merged_seq then
    delete from perch.document_queue q
     where q.space_id = document.space_id and q.app_id = document.app_id
       and q.table_name = document.table_name and q.record_id = document.record_id;
  else
    update perch.document_queue q set due_at = clock_timestamp()
     where q.space_id = document.space_id and q.app_id = document.app_id
       and q.table_name = document.table_name and q.record_id = document.record_id;
  end if;

  return query select logged, document.tail_count, document.tail_bytes;
end
$$;

comment on function perch.project_document(text, text, text, text, bigint, jsonb, bigint, bigint) is
  'For perch_worker: writes the JSON that a document has at position seq (size: its bytes as text) into its record, and names the fields that changed in the log. Returns the log''s seq (null: nothing changed) and how much tail there is behind the snapshot; no row when the document is gone, or has something else at seq than revision says (null: only the number is compared).';
