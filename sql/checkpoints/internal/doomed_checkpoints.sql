-- The checkpoints of the thread itself are chosen by number and age. Those of a subgraph stand and fall with the
-- checkpoint of the thread under which they were made (metadata.parents). A subgraph with a memory of its own (the last
-- part of its namespace names no task, so has no colon) also keeps the last one before each, from which LangGraph goes
-- on when it rewinds to that one.
create or replace function perch.doomed_checkpoints(
  tenant_id text, thread_id text, keep_last integer, keep_for interval
)
returns table (thread_no bigint, id uuid)
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
  with recursive checkpoints as materialized (
    select c.thread_no, c.id, c.parent_id, c.created_at, t.namespace, t.head_id = c.id as is_head,
           row_number() over (partition by c.thread_no order by c.seq desc) as age,
           c.metadata #>> '{parents,""}' as root_id,
           -- An incremental channel without a value of its own, or a step of an old format, is read with what is above
           -- it.
           (t.delta_channels <> '{}' and not t.delta_channels <@ array(
              select v.key from perch.checkpoint_values v
               where v.tenant_id = c.tenant_id and v.thread_no = c.thread_no and v.no = any (c.value_nos)
                 and (v.json_text is not null or v.bytes is not null)))
             or coalesce((c.channels ->> 'v')::numeric < 4, false) as needs_parent
      from perch.threads t
      join perch.stored_checkpoints c on c.tenant_id = t.tenant_id and c.thread_no = t.thread_no
     where t.tenant_id = doomed_checkpoints.tenant_id and t.thread_id = doomed_checkpoints.thread_id
  ), by_rule as (
    select c.*, coalesce(c.is_head or c.age <= doomed_checkpoints.keep_last, false)
                or coalesce(c.created_at > clock_timestamp() - doomed_checkpoints.keep_for, false) as is_kept
      from checkpoints c
  ), roots as materialized (
    select r.id, r.is_kept from by_rule r where r.namespace = ''
  ), chosen as (
    select r.thread_no, r.id, r.parent_id, r.needs_parent
      from by_rule r
     where case
             when r.namespace = '' or not exists (select from roots) then r.is_kept
             else exists (select from roots x where x.is_kept and x.id::text = r.root_id)
                  or coalesce(r.created_at > clock_timestamp() - doomed_checkpoints.keep_for, false)
           end
    union
    select before.*
      from roots x
     cross join (select distinct c.thread_no from checkpoints c where c.namespace <> '' and c.namespace !~ ':[^|]*$') s
     cross join lateral (
       select c.thread_no, c.id, c.parent_id, c.needs_parent from checkpoints c
        where c.thread_no = s.thread_no and c.id < x.id
        order by c.id desc limit 1
     ) before
     where x.is_kept
  ), needed as (
    select ch.thread_no, ch.id, ch.parent_id, ch.needs_parent from chosen ch
    union
    select c.thread_no, c.id, c.parent_id, c.needs_parent
      from needed n
      join checkpoints c on c.thread_no = n.thread_no and c.id = n.parent_id
     where n.needs_parent
  )
  select c.thread_no, c.id
    from checkpoints c
   where not exists (select from needed n where n.thread_no = c.thread_no and n.id = c.id)
$$;

comment on function perch.doomed_checkpoints(text, text, integer, interval) is
  'Private. The checkpoints of a thread and its subgraphs that neither number nor age keeps and no kept one needs.';
