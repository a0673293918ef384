#!/bin/sh
# Makes the role that serves: bound by row-level security, and owner of nothing.
set -eu
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --set ON_ERROR_STOP=1 --set password="$SERVE_PASSWORD" <<'SQL'
CREATE ROLE selvedge_app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'password';
SQL
