-- A space is in use when it has a head, and known when it was created. Each list is read from its key, in order, and
-- no further than a page. The bound behind the last name is what lets the key serve a prefix.
create or replace function perch.console_spaces(
  search text default '', after text default '', page_size integer default 50
)
returns json
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
  from_id constant text := greatest(console_spaces.search collate "C", console_spaces.after collate "C");
  until_id constant text := console_spaces.search || chr(1114111);
  asked constant integer := perch.console_page(console_spaces.page_size);
  spaces json;
  last_id text;
begin
  perform perch.require_console();
  with listed as (
    (select h.space_id from perch.space_heads h
      where h.space_id >= from_id and h.space_id < until_id and h.space_id > console_spaces.after
      order by h.space_id limit asked)
    union
    (select s.space_id from perch.spaces s
      where s.space_id >= from_id and s.space_id < until_id and s.space_id > console_spaces.after
      order by s.space_id limit asked)
  ), page as (
    select l.space_id from listed l order by l.space_id limit asked
  )
  select json_agg(json_build_object('space_id', p.space_id, 'seq', coalesce(h.seq, 0),
           'kind', case when p.space_id like '~%' then 'personal'
                        when s.space_id is null then 'token' else 'members' end,
           'members', (select count(*) from (
              select from perch.space_members m where m.space_id = p.space_id limit 1001) c)) order by p.space_id),
         case when count(*) = asked then max(p.space_id) end
    into spaces, last_id
    from page p
    left join perch.space_heads h on h.space_id = p.space_id
    left join perch.spaces s on s.space_id = p.space_id;
  return json_build_object('spaces', coalesce(spaces, '[]'), 'next', last_id);
end
$$;
grant execute on function perch.console_spaces to perch_worker;

comment on function perch.console_spaces(text, text, integer) is
  'For perch_worker, of the console: the spaces whose id begins so: {"spaces": [{"space_id", "seq", "kind", "members"}], "next"}. kind: personal, members (perch.space_members says who), token (tokens do). Pass next as after until it is null. Errors: PE401, PE422.';
