-- What has been applied to this database. Runs as perch_owner, before the migrations; changes nothing when run again.
do $ledger$
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
    create policy ledger on perch.migrations to perch_owner using (true) with check (true);
    create policy worker on perch.migrations for select to perch_worker using (true);
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
    create policy ledger on perch.applied_sql to perch_owner using (true) with check (true);
    create policy worker on perch.applied_sql for select to perch_worker using (true);
  end if;

  -- Functions are executable by PUBLIC from the moment they are made, unless this stands before.
  if not exists (select from pg_default_acl a where a.defaclrole = 'perch_owner'::regrole and a.defaclobjtype = 'f') then
    alter default privileges for role perch_owner revoke execute on functions from public;
  end if;
end
$ledger$;
