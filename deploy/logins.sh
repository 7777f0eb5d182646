#!/bin/sh
# What a DBA does once, before the first migration: the login of compose.yaml. The image of Postgres runs it on an empty data folder.
set -eu
psql --username postgres --dbname app --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" <<'SQL'
create role perch_login login createrole password :'password';
grant create on database app to perch_login;
SQL
