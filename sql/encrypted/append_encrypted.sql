-- Lock order: the row of the one document (docs/architecture.md, "The order of locks"); nothing is waited for behind it.
--
-- The row of the document is locked from the first statement until commit, so that positions are in commit order without gaps.
-- As in perch.append_updates this runs with the rights of the worker, and checks each author itself.
--
-- A span that covers others replaces them, as the protocol has it: what was sent again, perhaps under a new key. One that only
-- overlaps is kept beside them. A snapshot counts only for what no span has; its authors hold the same operations, and send them as
-- spans when they join, so it goes when they have.
create or replace function perch.append_encrypted(
  space_id text, app_id text, table_name text, record_id text, life_seq bigint,
  user_ids text[], writable boolean[], peer_ids bytea[], firsts bigint[], nexts bigint[], versions jsonb[], payloads bytea[]
)
returns table (ordinal integer, seq bigint, error text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes constant bigint := perch.setting('max_encrypted_bytes', 67108864);
  max_steps constant integer := 1000;
  document perch.encrypted_documents;
  bytes bigint;
  freed bigint;
  record record;
  taken bigint;
  reached bigint;
  further bigint;
begin
  perform perch.require_encrypted_table(append_encrypted.app_id, append_encrypted.table_name);
  insert into perch.encrypted_documents as d (space_id, app_id, table_name, record_id, created_by)
  values (append_encrypted.space_id, append_encrypted.app_id, append_encrypted.table_name, append_encrypted.record_id, user_ids[1])
  on conflict on constraint encrypted_documents_pkey do nothing;
  select d.* into document from perch.encrypted_documents d
   where d.space_id = append_encrypted.space_id and d.app_id = append_encrypted.app_id
     and d.table_name = append_encrypted.table_name and d.record_id = append_encrypted.record_id
     for no key update;
  taken := document.head_seq;
  bytes := document.stored_bytes;

  for record in
    select r.*, r.ordinal::integer as nth,
           case
             when document.life_seq <> append_encrypted.life_seq then 'PE410'
             when document.space_id <> '~' || r.user_id and not coalesce(r.may_write, exists (
               select from perch.space_members m
                where m.space_id = document.space_id and m.user_id = r.user_id and m.role in ('editor', 'owner'))) then 'PE403'
             when r.version is null and r.first < (document.ended ->> encode(r.peer_id, 'hex'))::bigint
               or r.version is not null and exists (
                 select from jsonb_each_text(r.version) v where v.value::bigint > 0 and document.ended ? v.key) then 'PE410'
           end as refusal
      from unnest(user_ids, writable, peer_ids, firsts, nexts, versions, payloads) with ordinality
             as r (user_id, may_write, peer_id, first, next, version, payload, ordinal)
     order by r.ordinal
  loop
    ordinal := record.nth;
    seq := null;
    error := record.refusal;
    if error is null and bytes + octet_length(record.payload) > max_bytes then
      -- It may replace what is there.
      select coalesce(sum(octet_length(x.payload)), 0) into freed from perch.encrypted_records x
       where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
         and x.record_id = document.record_id and x.peer_id = record.peer_id
         and x.next > record.first and x.next <= record.next and x.first >= record.first;
      if bytes - freed + octet_length(record.payload) > max_bytes then
        error := 'PE413';
      end if;
    end if;
    if error is not null then
      return next;
      continue;
    end if;

    if record.version is not null then
      -- Nothing new in it: nothing to keep. An older snapshot it contains goes.
      if exists (
        select from jsonb_each_text(record.version) v
          left join perch.encrypted_reaches x
            on x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
           and x.record_id = document.record_id and x.peer_id = decode(v.key, 'hex')
         where v.value::bigint > coalesce(x.reach, 0))
         and not exists (
        select from perch.encrypted_records x
         where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
           and x.record_id = document.record_id and x.peer_id is null and x.version = record.version)
      then
        with gone as (
          delete from perch.encrypted_records x
           where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
             and x.record_id = document.record_id and x.peer_id is null
             and not exists (select from jsonb_each_text(x.version) v
                              where v.value::bigint > coalesce((record.version ->> v.key)::bigint, 0))
          returning octet_length(x.payload) as size)
        select coalesce(sum(gone.size), 0) into freed from gone;
        bytes := bytes - freed;
        taken := taken + 1;
        seq := taken;
      end if;
    elsif not exists (
      select from perch.encrypted_records x
       where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
         and x.record_id = document.record_id and x.peer_id = record.peer_id
         and x.next = record.next and x.first = record.first and x.payload = record.payload)
    then
      with gone as (
        delete from perch.encrypted_records x
         where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
           and x.record_id = document.record_id and x.peer_id = record.peer_id
           and x.next > record.first and x.next <= record.next and x.first >= record.first
        returning octet_length(x.payload) as size)
      select coalesce(sum(gone.size), 0) into freed from gone;
      bytes := bytes - freed;
      taken := taken + 1;
      seq := taken;
    end if;
    if seq is null then
      return next;
      continue;
    end if;
    insert into perch.encrypted_records
      (space_id, app_id, table_name, record_id, seq, peer_id, first, next, version, payload, user_id)
    values (document.space_id, document.app_id, document.table_name, document.record_id, seq,
            record.peer_id, record.first, record.next, record.version, record.payload, record.user_id);
    bytes := bytes + octet_length(record.payload);
    return next;

    if record.version is null then
      select x.reach into reached from perch.encrypted_reaches x
       where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
         and x.record_id = document.record_id and x.peer_id = record.peer_id;
      reached := coalesce(reached, 0);
      if record.first <= reached and record.next > reached then
        -- On past it there may be spans that came before what they continue. Where there are too many to follow here, the reach stays
        -- short of what is there: whoever has more sends it again, and brings it on.
        further := record.next;
        for step in 1 .. max_steps loop
          reached := further;
          select max(x.next) into further from perch.encrypted_records x
           where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
             and x.record_id = document.record_id and x.peer_id = record.peer_id
             and x.next > reached and x.first <= reached;
          exit when further is null;
        end loop;
        insert into perch.encrypted_reaches as x (space_id, app_id, table_name, record_id, peer_id, reach)
        values (document.space_id, document.app_id, document.table_name, document.record_id, record.peer_id, reached)
        on conflict on constraint encrypted_reaches_pkey do update set reach = excluded.reach;
        with gone as (
          delete from perch.encrypted_records s
           where s.space_id = document.space_id and s.app_id = document.app_id and s.table_name = document.table_name
             and s.record_id = document.record_id and s.peer_id is null
             and not exists (
               select from jsonb_each_text(s.version) v
                 left join perch.encrypted_reaches x
                   on x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
                  and x.record_id = document.record_id and x.peer_id = decode(v.key, 'hex')
                where v.value::bigint > coalesce(x.reach, 0))
          returning octet_length(s.payload) as size)
        select coalesce(sum(gone.size), 0) into freed from gone;
        bytes := bytes - freed;
      end if;
    end if;
  end loop;

  if taken > document.head_seq then
    update perch.encrypted_documents d set head_seq = taken, stored_bytes = bytes
     where d.space_id = document.space_id and d.app_id = document.app_id
       and d.table_name = document.table_name and d.record_id = document.record_id;
    perform pg_notify('perch_documents', jsonb_build_object('v', 1, 'space_id', document.space_id, 'app_id', document.app_id,
      'table', document.table_name, 'id', document.record_id, 'seq', taken)::text);
  end if;
end
$$;

comment on function perch.append_encrypted(text, text, text, text, bigint, text[], boolean[], bytea[], bigint[], bigint[], jsonb[], bytea[]) is
  'For perch_worker: appends encrypted records to a document, one array element a record; versions is null for spans, peer_ids, firsts and nexts for snapshots. Out, for each: its position; null when there is nothing new in it, or it is refused (PE403; PE410: of a life that has ended; PE413: the document would be over max_encrypted_bytes). Errors: PE404 when the table is not declared.';
