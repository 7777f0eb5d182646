-- Lock order: the row of the one document (docs/architecture.md, "The order of locks"); nothing is waited for behind
-- it.
--
-- The row of the document is locked from the first statement until commit, so that positions are in commit order
-- without gaps. As in perch.append_updates this runs with the rights of the worker, and checks each author itself.
--
-- Nobody here can read what is in a record: its header says what its sender claims. So a record takes nothing away but
-- what its own author sent (perch.covered_records), and moves only the reach of its author's own peers
-- (perch.advance_reach), by which readers and writers are told what is here. Whatever else overlaps is kept beside it.
--
-- The node that appends says up to where it has given the document to its readers. Where the database does not lead on
-- from there, it went back, and nothing is taken: the node's readers have what is not here, and are told to join again.
-- That is asked under the lock of the row. A position that was replaced too long since says nothing, and is good
-- enough: no record builds on another one here. Positions of those replaced last are kept, so that a member who goes on
-- replacing records of their own sends no readers of other nodes away.
--
-- A snapshot counts for what no reach has. When the owners of its peers have sent all of that as spans, it goes: that
-- is looked at once, behind all of the records.
--
-- Cost: of the spans that one record may cover, and of those that it may join to the reach, so many are looked at; what
-- is left stays beside it, and the reach short of what is there: whoever has more sends it again, and brings it on. Of
-- one author there are so many snapshots beside each other: those of a client replace each other. And of all peers
-- whoever joins is told, in one frame, which has room for so many.
create or replace function perch.append_encrypted(
  space_id text, app_id text, table_name text, record_id text, incarnation_seq bigint, user_ids text[],
  writable boolean[], peer_ids bytea[], firsts bigint[], nexts bigint[], versions jsonb[], payloads bytea[],
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
  max_snapshots constant integer := 16;
  max_peers constant integer := 16384;
  max_replaced constant integer := 64;
  document perch.encrypted_documents;
  entry perch.encrypted_records;
  peer perch.encrypted_reaches;
  covered record;
  went_back boolean;
  bytes bigint;
  peers bigint;
  ended integer[];
  reached bigint;
  moved_peers text[] := '{}';
  moved_from bigint[] := '{}';
  moved_to bigint[] := '{}';
  positions bigint[];
  taken record;
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
  went_back := document.incarnation_seq <> append_encrypted.incarnation_seq
    or perch.has_encrypted_position(document, append_encrypted.after_seq, append_encrypted.after_revision) is false;
  ended := perch.ended_records(document.ended, peer_ids, firsts, versions);
  document.ended := null;
  bytes := document.stored_bytes;
  positions := document.replaced;
  entry.space_id := document.space_id;
  entry.app_id := document.app_id;
  entry.table_name := document.table_name;
  entry.record_id := document.record_id;
  entry.seq := document.head_seq;
  entry.revision := coalesce(append_encrypted.revision, perch.new_revision());

  for nth in 1 .. coalesce(cardinality(user_ids), 0) loop
    ordinal := nth;
    seq := null;
    entry.user_id := user_ids[nth];
    entry.peer_id := peer_ids[nth];
    entry.first := firsts[nth];
    entry.next := nexts[nth];
    entry.version := versions[nth];
    entry.payload := payloads[nth];
    entry.mark := marks[nth];
    entry.created_at := clock_timestamp();

    error := case when went_back then 'PE410' else perch.encrypted_refusal(entry, nth = any (ended), writable[nth]) end;
    if error is null then
      select x.* into peer from perch.encrypted_reaches x
       where x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
         and x.record_id = entry.record_id and x.peer_id = entry.peer_id;
      if entry.version is null and peer.peer_id is null and peers is null then
        select count(*) into peers from perch.encrypted_reaches x
         where x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
           and x.record_id = entry.record_id;
      end if;
      covered := perch.covered_records(entry, max_looks);
      error := case when entry.next > coalesce(peer.reach, 0) + max_beyond then 'PE422'
                    when bytes - covered.bytes + octet_length(entry.payload) > max_bytes then 'PE413'
                    when entry.version is null and peer.peer_id is null and peers >= max_peers then 'PE413'
                    when entry.version is not null and max_snapshots <= (
                      select count(*) from perch.encrypted_records x
                       where x.space_id = entry.space_id and x.app_id = entry.app_id
                         and x.table_name = entry.table_name and x.record_id = entry.record_id and x.peer_id is null
                         and x.user_id = entry.user_id and x.seq <> all (covered.seqs)) then 'PE413' end;
    end if;
    if error is not null or perch.has_encrypted_record(entry) then
      return next;
      continue;
    end if;

    if covered.seqs <> '{}' then
      with gone as (
        delete from perch.encrypted_records x
         where x.space_id = entry.space_id and x.app_id = entry.app_id and x.table_name = entry.table_name
           and x.record_id = entry.record_id and x.seq = any (covered.seqs)
        returning x.seq, x.revision)
      select array(
               select v.value from gone g cross join lateral (values (1, g.seq), (2, g.revision)) v (nth, value)
                order by g.seq desc, v.nth) || positions
        into positions;
    end if;
    entry.seq := entry.seq + 1;
    insert into perch.encrypted_records select (entry).*;
    bytes := bytes - covered.bytes + octet_length(entry.payload);
    if entry.version is null then
      peers := peers + case when peer.peer_id is null then 1 else 0 end;
      reached := perch.advance_reach(entry, peer, max_looks);
      if reached > coalesce(peer.reach, 0) then
        moved_peers := moved_peers || encode(entry.peer_id, 'hex');
        moved_from := moved_from || coalesce(peer.reach, 0);
        moved_to := moved_to || reached;
      end if;
    end if;
    seq := entry.seq;
    return next;
  end loop;

  if moved_peers <> '{}' then
    taken := perch.delete_reached(document, moved_peers, moved_from, moved_to);
    bytes := bytes - taken.bytes;
    positions := taken.positions || positions;
  end if;
  if entry.seq > document.head_seq then
    update perch.encrypted_documents d
       set head_seq = entry.seq, stored_bytes = bytes, revision = entry.revision,
           replaced = positions[:2 * max_replaced]
     where d.space_id = document.space_id and d.app_id = document.app_id
       and d.table_name = document.table_name and d.record_id = document.record_id;
    perform pg_notify('perch_documents', perch.document_notification(
      document.space_id, document.app_id, document.table_name, document.record_id, entry.seq));
  end if;
end
$$;
grant execute on function perch.append_encrypted to perch_worker;

comment on function perch.append_encrypted(text, text, text, text, bigint, text[], boolean[], bytea[], bigint[], bigint[], jsonb[], bytea[], bytea[], bigint, bigint, bigint) is
  'For perch_worker: appends encrypted records to a document, one array element a record; versions is null for spans, peer_ids, firsts and nexts for snapshots; marks: what identifies the ciphertext (its iv and tag); after_seq and after_revision: the position that the caller has given its readers (default: not compared); revision: what is to identify the position that the document then has (default: drawn here). Out, for each: its position; null when there is nothing new in it, or it is refused (PE403; PE410: of a incarnation that has ended, or the document has something else at after_seq: the database went back; PE413: the document would be over max_encrypted_bytes, has 16 snapshots of this author beside this one, or spans of 16,384 other peers; PE422: the span is more than 16,777,216 operations beyond what the document has of its peer, or the ciphertext is one of another document of the space). Errors: PE404 when the table is not declared.';
