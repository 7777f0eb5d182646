-- What a migration of the app does. Each project is a space of its own: who is a member of it sees its rows, editors write them.
create table projects (
  id   text primary key,
  name text not null constraint a_name check (name <> '')
);
create table todos (
  id         text primary key,
  project_id text not null references projects on delete cascade,
  title      text not null constraint a_title check (title <> ''),
  done       boolean not null default false,
  archived   boolean not null default false,
  written_by text not null default perch.current_user_id()
);
create index on todos (project_id, id);

select perch.sync_table(relation => 'projects', app_id => 'projects', space_column => 'id', writable_columns => '{name}');
select perch.sync_table(relation => 'todos', app_id => 'projects', space_column => 'project_id', writable_columns => '{title,done}');
-- The note of a project, which people write together.
select perch.declare_table(app_id => 'projects', table_name => 'notes', fields => '{"body": "text"}');

-- What is more than writing a row: functions that clients call by name, also from an outbox.
create role projects_app nologin;
grant perch_app to projects_app;
grant select, insert, update on projects, todos to projects_app;

create function create_project(args jsonb) returns jsonb
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  perform perch.create_space(space_id => args ->> 'id'); -- whose owner the caller becomes
  insert into projects (id, name) values (args ->> 'id', args ->> 'name');
  return null;
end
$$;

create function archive_done(args jsonb) returns jsonb
language plpgsql security definer set search_path = public, pg_temp
as $$
begin
  if not coalesce(args ->> 'project_id' = any (perch.writable_space_ids()), false) then
    raise exception 'forbidden: only editors of a project archive its todos' using errcode = 'PE403';
  end if;
  update todos set archived = true where project_id = args ->> 'project_id' and done and not archived;
  return null;
end
$$;

alter function create_project(jsonb) owner to projects_app;
alter function archive_done(jsonb) owner to projects_app;
select perch.register_mutator(app_id => 'projects', name => 'create_project', function => 'create_project(jsonb)');
select perch.register_mutator(app_id => 'projects', name => 'archive_done', function => 'archive_done(jsonb)');
