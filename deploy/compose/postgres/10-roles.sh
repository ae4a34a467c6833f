#!/bin/sh
# Create the database, its owner and the services' login. PostgreSQL's image runs this once, on a new volume.
#
# Only migrations use the owner; the services' login can append to the ledger but not modify it, see
# shared/schema/migrations/grants.py. The passwords come from the URLs that our containers get.
set -eu
password() { sed -n 's|^[a-z+]*://[^:]*:\([^@]*\)@.*|\1|p' "${SECRETS:-/run/secrets}/$1"; }
OWNER_PASSWORD=$(password migration_database_url) SERVICES_PASSWORD=$(password database_url) \
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv services_password SERVICES_PASSWORD
CREATE ROLE ovnpay_service NOLOGIN;
CREATE ROLE ovnpay_reader NOLOGIN;
CREATE ROLE ovnpay_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE ovnpay_services LOGIN PASSWORD :'services_password' IN ROLE ovnpay_service;
CREATE DATABASE ovnpay OWNER ovnpay_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C';
REVOKE ALL ON DATABASE ovnpay FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE ovnpay TO ovnpay_owner, ovnpay_service, ovnpay_reader;
\connect ovnpay
CREATE EXTENSION pg_stat_statements;
SQL
