-- What has been applied to this database. Runs as perch_owner, before the migrations; changes nothing when run again.
do $ledger$
declare
  ledger text;
begin
  if to_regclass('perch.migrations') is null then
    create table perch.migrations (
      -- The time in microseconds, not a sequence: those are not replicated, so that a copy of the database would give
      -- out an id again.
      id     bigint not null primary key default (extract(epoch from clock_timestamp()) * 1000000)::bigint,
      name   varchar(255) not null,
      run_on timestamp not null
    );
    comment on table perch.migrations is 'The migrations this database has had, in order.';
    alter table perch.migrations enable row level security;
    alter table perch.migrations force row level security;
  end if;

  if to_regclass('perch.migrations_id_seq') is not null then
    alter table perch.migrations
      alter column id drop default,
      alter column id type bigint,
      alter column id set default (extract(epoch from clock_timestamp()) * 1000000)::bigint;
    drop sequence perch.migrations_id_seq;
  end if;
  if not exists (select from pg_attribute a
    where a.attrelid = 'perch.migrations'::regclass and a.attname = 'breaking') then
    alter table perch.migrations add column breaking boolean not null default false;
    comment on column perch.migrations.breaking is
      'Whether processes of earlier versions cannot run on what it made.';
  end if;

  if to_regclass('perch.applied_release') is null then
    create table perch.applied_release (
      only_row   boolean not null primary key default true check (only_row),
      version    text not null,
      applied_at timestamptz not null default clock_timestamp()
    );
    comment on table perch.applied_release is 'The version of perch that sql/ was applied by last.';
    alter table perch.applied_release enable row level security;
    alter table perch.applied_release force row level security;
  end if;

  if to_regclass('perch.applied_sql') is null then
    create table perch.applied_sql (
      path       text collate "C" not null primary key,
      hash       text not null,
      applied_at timestamptz not null default clock_timestamp()
    );
    comment on table perch.applied_sql is 'The files of sql/ this database has, each with the SHA-256 of its text.';
    alter table perch.applied_sql enable row level security;
    alter table perch.applied_sql force row level security;
  end if;
  if not exists (select from pg_attribute a
    where a.attrelid = 'perch.applied_sql'::regclass and a.attname = 'callers') then
    alter table perch.applied_sql add column callers text[] not null default '{}';
    comment on column perch.applied_sql.callers is
      'The roles to which the file grants to execute the function that it makes.';
  end if;

  -- By themselves: without them perch_owner would see nothing of what has been applied, and apply it again.
  foreach ledger in array array['migrations', 'applied_sql', 'applied_release'] loop
    if not exists (select from pg_policies p where p.schemaname = 'perch' and p.tablename = ledger
      and p.policyname = 'ledger') then
      execute format('create policy ledger on perch.%I to perch_owner using (true) with check (true)', ledger);
    end if;
    if not exists (select from pg_policies p where p.schemaname = 'perch' and p.tablename = ledger
      and p.policyname = 'worker') then
      execute format('create policy worker on perch.%I for select to perch_worker using (true)', ledger);
    end if;
  end loop;

  -- Functions are executable by PUBLIC from the moment they are made, unless this stands before.
  if not exists (select from pg_default_acl a
    where a.defaclrole = 'perch_owner'::regrole and a.defaclobjtype = 'f') then
    alter default privileges for role perch_owner revoke execute on functions from public;
  end if;
end
$ledger$;
