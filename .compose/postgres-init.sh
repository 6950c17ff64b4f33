#!/bin/sh
# Runs once, when the PostgreSQL volume is empty: a database for each purpose, and roles with no more rights
# than they need.
#
#   usage   your application writes its usage log here (role usage_writer); the exporter may only SELECT (usage_reader)
#   margin  the exporter's own state (role margin_state)
#   demo_*  usage log and state of the simulated business (role demo, which reaches nothing else)
#
# A business whose usage log is in a database of its own ignores `usage` and points USAGE_DATABASE_URL there.
set -eu

: "${USAGE_WRITER_PASSWORD:?}" "${USAGE_READER_PASSWORD:?}" "${STATE_PASSWORD:?}" "${DEMO_PASSWORD:?}"

psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname postgres \
  -v writer="$USAGE_WRITER_PASSWORD" -v reader="$USAGE_READER_PASSWORD" -v state="$STATE_PASSWORD" \
  -v demo="$DEMO_PASSWORD" <<'SQL'
CREATE ROLE usage_writer LOGIN PASSWORD :'writer';
CREATE ROLE usage_reader LOGIN PASSWORD :'reader' CONNECTION LIMIT 8;
CREATE ROLE margin_state LOGIN PASSWORD :'state';
CREATE DATABASE usage OWNER usage_writer;
CREATE DATABASE margin OWNER margin_state;
CREATE ROLE demo LOGIN PASSWORD :'demo';
CREATE DATABASE demo_usage OWNER demo;
CREATE DATABASE demo_state OWNER demo;
REVOKE ALL ON DATABASE usage, margin, demo_usage, demo_state, postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE usage TO usage_reader;
ALTER ROLE usage_reader SET default_transaction_read_only = on;
ALTER ROLE usage_reader SET statement_timeout = '120s';
SQL

psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname usage <<'SQL'
ALTER SCHEMA public OWNER TO usage_writer;
GRANT USAGE ON SCHEMA public TO usage_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE usage_writer IN SCHEMA public GRANT SELECT ON TABLES TO usage_reader;
SQL
