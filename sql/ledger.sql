-- What has been applied to this database. Runs as perch_owner, before the migrations; changes nothing when run again.
do $ledger$
declare
  ledger text;
begin
  if to_regclass('perch.migrations') is null then
    create table perch.migrations (
      id     serial not null primary key,
      name   varchar(255) not null,
      run_on timestamp not null
    );
    comment on table perch.migrations is 'The migrations this database has had, in order.';
    alter table perch.migrations enable row level security;
    alter table perch.migrations force row level security;
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

  -- By themselves: without them perch_owner would see nothing of what has been applied, and apply it again.
  foreach ledger in array array['migrations', 'applied_sql'] loop
    if not exists (select from pg_policies p where p.schemaname = 'perch' and p.tablename = ledger and p.policyname = 'ledger') then
      execute format('create policy ledger on perch.%I to perch_owner using (true) with check (true)', ledger);
    end if;
    if not exists (select from pg_policies p where p.schemaname = 'perch' and p.tablename = ledger and p.policyname = 'worker') then
      execute format('create policy worker on perch.%I for select to perch_worker using (true)', ledger);
    end if;
  end loop;

  -- Functions are executable by PUBLIC from the moment they are made, unless this stands before.
  if not exists (select from pg_default_acl a where a.defaclrole = 'perch_owner'::regrole and a.defaclobjtype = 'f') then
    alter default privileges for role perch_owner revoke execute on functions from public;
  end if;
end
$ledger$;
