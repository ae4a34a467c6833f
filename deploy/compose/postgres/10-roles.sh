#!/bin/sh
# Run once by PostgreSQL's image, while its volume is new: the database, who owns it, and what the services sign in as.
#
# The owner migrates and is used by nobody else; the services' login can add to the ledger and not change it, see
# shared/schema/migrations/grants.py. Both passwords are those of the URLs that our containers get.
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
