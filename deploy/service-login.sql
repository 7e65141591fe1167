-- The login of gateway, relay, worker and console: it may add events to the history, and change or remove none
-- (docs/audit-database.md). `oncue db roles --create` made the group that it is put into. Twice does no harm.
\getenv password SERVICE_PASSWORD
SELECT 'CREATE ROLE oncue_service LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'oncue_service') \gexec
ALTER ROLE oncue_service PASSWORD :'password';
GRANT oncue_app TO oncue_service;
