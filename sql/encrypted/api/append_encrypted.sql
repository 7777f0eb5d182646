-- Lock order: the row of the one document (docs/architecture.md, "The order of locks"); nothing is waited for behind
-- it.
--
-- The row of the document is locked from the first statement until commit, so that positions are in commit order
-- without gaps. As in perch.append_updates this runs with the rights of the worker, and checks each author itself.
--
-- Nobody here can read what is in a record: its header says what its sender claims. So a record takes nothing away but
-- what its own author sent: a span replaces the spans of its author that it covers (what was sent again, perhaps under
-- a new key), a snapshot those of its author that it claims to contain. Whatever else overlaps is kept beside it. A
-- peer belongs to the user who first sent a span of it, and only their spans move its reach, by which readers and
-- writers are told what is here. A snapshot counts for what no reach has; when the owners of its peers have sent all of
-- that as spans, it goes.
--
-- The node that appends says up to where it has given the document to its readers. Where the database does not lead on
-- from there, it went back, and nothing is taken: the node's readers have what is not here, and are told to join again.
-- That is asked under the lock of the row. A position that was replaced since says nothing, and is good enough: no
-- record builds on another one here.
--
-- Cost: of the spans that one record may cover, and of those that it may join to the reach, so many are looked at; what
-- is left stays beside it, and the reach short of what is there: whoever has more sends it again, and brings it on.
create or replace function perch.append_encrypted(
  space_id text, app_id text, table_name text, record_id text, incarnation_seq bigint,
  user_ids text[], writable boolean[], peer_ids bytea[], firsts bigint[], nexts bigint[], versions jsonb[],
    payloads bytea[],
  marks bytea[] default null, after_seq bigint default null, after_revision bigint default null,
    revision bigint default null
)
returns table (ordinal integer, seq bigint, error text)
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
  max_bytes constant bigint := perch.setting('max_encrypted_bytes', 67108864);
  -- Operations that a span may be beyond the reach of its peer.
  max_beyond constant bigint := 16777216;
  max_looks constant integer := 256;
  document perch.encrypted_documents;
  given constant bigint := coalesce(append_encrypted.revision, perch.new_revision());
  elsewhere boolean;
  bytes bigint;
  freed bigint;
  record record;
  taken bigint;
  peer perch.encrypted_reaches;
  covered bigint[];
  reached bigint;
  further bigint;
begin
  perform perch.require_encrypted_table(append_encrypted.app_id, append_encrypted.table_name);
  insert into perch.encrypted_documents as d (space_id, app_id, table_name, record_id, created_by)
  values (append_encrypted.space_id, append_encrypted.app_id, append_encrypted.table_name, append_encrypted.record_id,
    user_ids[1])
  on conflict on constraint encrypted_documents_pkey do nothing;
  select d.* into document from perch.encrypted_documents d
   where d.space_id = append_encrypted.space_id and d.app_id = append_encrypted.app_id
     and d.table_name = append_encrypted.table_name and d.record_id = append_encrypted.record_id
     for no key update;
  elsewhere := perch.has_encrypted_position(document, append_encrypted.after_seq,
    append_encrypted.after_revision) is false;
  taken := document.head_seq;
  bytes := document.stored_bytes;

  for record in
    select r.*, r.ordinal::integer as nth,
           case
             when document.incarnation_seq <> append_encrypted.incarnation_seq or elsewhere then 'PE410'
             when not perch.may_write(document.space_id, r.user_id, r.may_write) then 'PE403'
             when r.version is null and r.first < (document.ended ->> encode(r.peer_id, 'hex'))::bigint
               or r.version is not null and exists (
                 select from jsonb_each_text(r.version) v
                   where v.value::bigint > 0 and document.ended ? v.key) then 'PE410'
             -- A record decrypts in every document of its key; the header is signed, the document is not.
             when exists (
               select from perch.encrypted_records x
                where x.space_id = document.space_id and x.mark = r.mark
                  and (x.app_id, x.table_name, x.record_id)
                      is distinct from (document.app_id, document.table_name, document.record_id)) then 'PE422'
           end as refusal
      from unnest(user_ids, writable, peer_ids, firsts, nexts, versions, payloads, marks) with ordinality
             as r (user_id, may_write, peer_id, first, next, version, payload, mark, ordinal)
     order by r.ordinal
  loop
    ordinal := record.nth;
    seq := null;
    error := record.refusal;
    peer := null;
    covered := '{}';
    freed := 0;
    if error is null and record.version is null then
      select x.* into peer from perch.encrypted_reaches x
       where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
         and x.record_id = document.record_id and x.peer_id = record.peer_id;
      if record.next > coalesce(peer.reach, 0) + max_beyond then
        error := 'PE422';
      end if;
      select coalesce(array_agg(x.seq), '{}'), coalesce(sum(x.size), 0) into covered, freed
        from (select y.seq, y.first, y.user_id, octet_length(y.payload) as size from perch.encrypted_records y
               where y.space_id = document.space_id and y.app_id = document.app_id
                 and y.table_name = document.table_name
                 and y.record_id = document.record_id and y.peer_id = record.peer_id
                 and y.next > record.first and y.next <= record.next
               order by y.next limit max_looks) x
       where x.first >= record.first and x.user_id = record.user_id;
    elsif error is null then
      select coalesce(array_agg(x.seq), '{}'), coalesce(sum(octet_length(x.payload)), 0) into covered, freed
        from perch.encrypted_records x
       where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
         and x.record_id = document.record_id and x.peer_id is null and x.user_id = record.user_id
         and not exists (select from jsonb_each_text(x.version) v
                          where v.value::bigint > coalesce((record.version ->> v.key)::bigint, 0));
    end if;
    if error is null and bytes - freed + octet_length(record.payload) > max_bytes then
      error := 'PE413';
    end if;
    if error is not null
       -- Nothing new in it: nothing to keep.
       or (case
            when record.version is null then exists (
              select from perch.encrypted_records x
               where x.space_id = document.space_id and x.app_id = document.app_id
                 and x.table_name = document.table_name
                 and x.record_id = document.record_id and x.peer_id = record.peer_id
                 and x.next = record.next and x.first = record.first and x.payload = record.payload)
            else not exists (
              select from jsonb_each_text(record.version) v
                left join perch.encrypted_reaches x
                  on x.space_id = document.space_id and x.app_id = document.app_id
                    and x.table_name = document.table_name
                 and x.record_id = document.record_id and x.peer_id = decode(v.key, 'hex')
               where v.value::bigint > coalesce(x.reach, 0))
              or exists (
              select from perch.encrypted_records x
               where x.space_id = document.space_id and x.app_id = document.app_id
                 and x.table_name = document.table_name
                 and x.record_id = document.record_id and x.peer_id is null
                 and x.version = record.version and x.user_id = record.user_id)
          end)
    then
      return next;
      continue;
    end if;

    if covered <> '{}' then
      delete from perch.encrypted_records x
       where x.space_id = document.space_id and x.app_id = document.app_id and x.table_name = document.table_name
         and x.record_id = document.record_id and x.seq = any (covered);
    end if;
    taken := taken + 1;
    seq := taken;
    insert into perch.encrypted_records
      (space_id, app_id, table_name, record_id, seq, peer_id, first, next, version, payload, user_id, mark, revision)
    values (document.space_id, document.app_id, document.table_name, document.record_id, seq,
            record.peer_id, record.first, record.next, record.version, record.payload, record.user_id, record.mark,
              given);
    bytes := bytes - freed + octet_length(record.payload);
    return next;
    if record.version is not null or coalesce(peer.user_id, record.user_id) <> record.user_id then
      continue;
    end if;

    reached := coalesce(peer.reach, 0);
    if record.first <= reached and record.next > reached then
      -- On past it there may be spans that came before what they continue.
      further := record.next;
      for step in 1 .. max_looks loop
        reached := further;
        select max(x.next) into further
          from (select y.first, y.next, y.user_id from perch.encrypted_records y
                 where y.space_id = document.space_id and y.app_id = document.app_id
                   and y.table_name = document.table_name
                   and y.record_id = document.record_id and y.peer_id = record.peer_id and y.next > reached
                 order by y.next limit max_looks) x
         where x.first <= reached and x.user_id = record.user_id;
        exit when further is null;
      end loop;
    end if;
    if peer.peer_id is not null and reached = peer.reach then
      continue;
    end if;
    insert into perch.encrypted_reaches as x (space_id, app_id, table_name, record_id, peer_id, reach, user_id)
    values (document.space_id, document.app_id, document.table_name, document.record_id, record.peer_id, reached,
      record.user_id)
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
  end loop;

  if taken > document.head_seq then
    update perch.encrypted_documents d set head_seq = taken, stored_bytes = bytes, revision = given
     where d.space_id = document.space_id and d.app_id = document.app_id
       and d.table_name = document.table_name and d.record_id = document.record_id;
    perform pg_notify('perch_documents', perch.document_notification(
      document.space_id, document.app_id, document.table_name, document.record_id, taken));
  end if;
end
$$;

comment on function perch.append_encrypted(text, text, text, text, bigint, text[], boolean[], bytea[], bigint[], bigint[], jsonb[], bytea[], bytea[], bigint, bigint, bigint) is
  'For perch_worker: appends encrypted records to a document, one array element a record; versions is null for spans, peer_ids, firsts and nexts for snapshots; marks: what identifies the ciphertext (its iv and tag); after_seq and after_revision: the position that the caller has given its readers (default: not compared); revision: what is to identify the position that the document then has (default: drawn here). Out, for each: its position; null when there is nothing new in it, or it is refused (PE403; PE410: of a incarnation that has ended, or the document has something else at after_seq: the database went back; PE413: the document would be over max_encrypted_bytes; PE422: the span is more than 16,777,216 operations beyond what the document has of its peer, or the ciphertext is one of another document of the space). Errors: PE404 when the table is not declared.';
