//! How audit rows leave: the roles `shepherd_app` and `shepherd_retention`, the function `audit_purge`, and indexes
//! that give every page of the log in its order.
//!
//! Roles belong to the server and are shared by all of its databases. So this step makes them only where they are
//! missing and where its user may, copes with a migration of another database doing the same at that moment, and its
//! way back takes their rights in this database and leaves the roles themselves: other databases may use them. Where
//! roles cannot be made the step succeeds without `audit_purge`, and audit rows stay for ever. An administrator of
//! the server makes up for it at any time by `SELECT setup_audit_retention()`.
//!
//! `shepherd_app` is for a login that serves but does not migrate; a login that owns the tables does not need it. The
//! schema of the queue belongs to its library and is not granted here.

use async_trait::async_trait;
use sea_orm::{ConnectionTrait, DbErr, DeriveMigrationName};
use sea_orm_migration::{MigrationTrait, SchemaManager};

/// See the module.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(UP).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(DOWN).await?;
        Ok(())
    }
}

const UP: &str = r#"
-- A page is read in the order of an index, without a sort; prefixes of actions are ranges in the C collation only.
DROP INDEX ix_audit_logs_performed_at, ix_audit_logs_performed_by, ix_audit_logs_resource, ix_audit_logs_action;
-- The environment decides who sees a row: with it the rows that a caller sees are counted in the index.
CREATE INDEX ix_audit_logs_performed_at ON audit_logs (performed_at DESC, id DESC) INCLUDE (environment);
CREATE INDEX ix_audit_logs_performed_by ON audit_logs (performed_by, performed_at DESC, id DESC);
CREATE INDEX ix_audit_logs_resource ON audit_logs (resource_type, resource_id, performed_at DESC, id DESC);
CREATE INDEX ix_audit_logs_action ON audit_logs (action COLLATE "C", performed_at DESC, id DESC);
CREATE INDEX ix_audit_logs_retain_until ON audit_logs (retain_until);
-- Counting reads indexes alone as far as vacuum has been there, and rows that are only ever added do not call it.
ALTER TABLE audit_logs SET (autovacuum_vacuum_insert_scale_factor = 0.02, autovacuum_vacuum_insert_threshold = 5000);

-- A hold that was answered is honoured: who makes one waits for the batch that is being purged, and the next batch
-- sees it. The number is "sh-audit" in ASCII; audit_purge takes the same lock.
CREATE FUNCTION wait_for_audit_purge() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(8315946608544213364);
    RETURN NULL;
END;
$$;
CREATE TRIGGER trg_audit_legal_holds_wait BEFORE INSERT OR UPDATE ON audit_legal_holds
    FOR EACH STATEMENT EXECUTE FUNCTION wait_for_audit_purge();

-- "$user" in the search path would let whoever may create a schema named after the retention role put an empty table
-- of holds before ours.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION guard_audit_delete() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END;
$$;

-- Gives the two roles what they may do in this database, and makes audit_purge. Answers whether all of that could be
-- done; it may be called again.
CREATE FUNCTION setup_audit_retention() RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $setup$
DECLARE
    me constant name := current_user;
    acting_as constant text := current_setting('role');
    home constant name := current_schema();
    is_16 constant boolean := current_setting('server_version_num')::integer >= 160000;
    proprietor name;
    wanted name;
    kind text;
    relation regclass;
    rights text;
    joined boolean := false;
BEGIN
    SELECT pg_get_userbyid(relowner) INTO STRICT proprietor FROM pg_class WHERE oid = 'audit_logs'::regclass;

    BEGIN
        FOREACH wanted IN ARRAY ARRAY['shepherd_app', 'shepherd_retention'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
                BEGIN
                    EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
                EXCEPTION WHEN duplicate_object OR unique_violation THEN
                    -- The migration of another database of this server was faster. What this session remembers of
                    -- roles is older than that; taking a lock that it does not hold yet makes it look again.
                    PERFORM pg_relation_size('system_secrets'::regclass);
                END;
            END IF;
        END LOOP;

        EXECUTE format('GRANT USAGE ON SCHEMA %I TO shepherd_app', home);
        FOR relation, kind, rights IN
            SELECT oid::regclass,
                CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                CASE
                    WHEN relkind = 'S' THEN 'USAGE, SELECT'
                    WHEN relkind = 'v' OR relname = 'shepherd_migrations' THEN 'SELECT'
                    WHEN relname IN ('audit_logs', 'ticket_transitions', 'vm_revisions') THEN 'SELECT, INSERT'
                    WHEN relname IN ('approval_tickets', 'audit_legal_holds', 'domain_events')
                        THEN 'SELECT, INSERT, UPDATE'
                    ELSE 'SELECT, INSERT, UPDATE, DELETE'
                END
            FROM pg_class
            WHERE relnamespace = quote_ident(home)::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
                AND pg_get_userbyid(relowner) = proprietor
        LOOP
            EXECUTE format('GRANT %s ON %s %s TO shepherd_app', rights, kind, relation);
        END LOOP;
        -- Later steps need not think of the role, unless what they add is append-only.
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I '
            'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO shepherd_app', proprietor, home);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I '
            'GRANT USAGE, SELECT ON SEQUENCES TO shepherd_app', proprietor, home);
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'the roles of Shepherd cannot be set up, so audit rows are never purged: %', SQLERRM;
        RETURN false;
    END;

    BEGIN
        GRANT SELECT, DELETE ON audit_logs TO shepherd_retention;
        GRANT SELECT ON audit_legal_holds TO shepherd_retention;
        -- To make what a role is to own one has to become that role, and it has to be allowed to make it.
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO shepherd_retention', home);
        IF NOT pg_has_role(me, 'shepherd_retention', CASE WHEN is_16 THEN 'SET' ELSE 'MEMBER' END) THEN
            EXECUTE format('GRANT shepherd_retention TO %I', me)
                || CASE WHEN is_16 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
            joined := true;
        END IF;
        PERFORM set_config('role', 'shepherd_retention', true);
        EXECUTE format($create$
            CREATE OR REPLACE FUNCTION %1$I.audit_purge(batch integer) RETURNS TABLE (class text, purged bigint)
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$I, pg_temp AS $purge$
            BEGIN
                IF batch IS NULL OR batch NOT BETWEEN 1 AND 100000 THEN
                    RAISE EXCEPTION 'a batch has 1 to 100000 rows' USING ERRCODE = 'invalid_parameter_value';
                END IF;
                -- With an older snapshot the statement below would miss a hold that it has just waited for.
                IF current_setting('transaction_isolation') <> 'read committed' THEN
                    RAISE EXCEPTION 'audit rows are purged in READ COMMITTED only'
                        USING ERRCODE = 'invalid_transaction_state';
                END IF;
                PERFORM pg_advisory_xact_lock(8315946608544213364);
                -- Batches exclude each other, so that no row has to be locked: that would take the right to update.
                RETURN QUERY
                    WITH due AS (
                        SELECT a.id FROM audit_logs a
                        WHERE a.retain_until < now() AND NOT EXISTS (
                            SELECT FROM audit_legal_holds h
                            WHERE h.released_at IS NULL
                                AND h.filter <@ jsonb_build_object(
                                    'action', a.action,
                                    'resource_type', a.resource_type,
                                    'resource_id', a.resource_id,
                                    'performed_by', a.performed_by,
                                    'environment', a.environment,
                                    'ticket_id', a.ticket_id
                                )
                        )
                        ORDER BY a.retain_until
                        LIMIT batch
                    ), gone AS (
                        DELETE FROM audit_logs a USING due WHERE a.id = due.id RETURNING a.retention_class
                    )
                    SELECT gone.retention_class, count(*) FROM gone GROUP BY gone.retention_class;
            END;
            $purge$
        $create$, home);
        EXECUTE format('REVOKE ALL ON FUNCTION %I.audit_purge(integer) FROM PUBLIC', home);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.audit_purge(integer) TO shepherd_app, %I', home, proprietor);
        PERFORM set_config('role', acting_as, true);
        IF joined THEN
            EXECUTE format('REVOKE shepherd_retention FROM %I', me);
        END IF;
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM shepherd_retention', home);
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE WARNING 'audit_purge cannot be made, so audit rows are never purged: %', SQLERRM;
        RETURN false;
    END;
    RETURN true;
END;
$setup$;
REVOKE ALL ON FUNCTION setup_audit_retention() FROM PUBLIC;

SELECT setup_audit_retention();
"#;

const DOWN: &str = r#"
DROP FUNCTION IF EXISTS audit_purge(integer);
DROP FUNCTION setup_audit_retention();

DO $$
DECLARE
    proprietor name;
    owned name;
    kind text;
    relation regclass;
BEGIN
    SELECT pg_get_userbyid(relowner) INTO STRICT proprietor FROM pg_class WHERE oid = 'audit_logs'::regclass;
    FOR owned IN SELECT rolname FROM pg_roles WHERE rolname IN ('shepherd_app', 'shepherd_retention') LOOP
        FOR relation, kind IN
            SELECT oid::regclass, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END FROM pg_class
            WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('r', 'p', 'v', 'S')
                AND pg_get_userbyid(relowner) = proprietor
        LOOP
            EXECUTE format('REVOKE ALL ON %s %s FROM %I', kind, relation, owned);
        END LOOP;
        EXECUTE format('REVOKE ALL ON SCHEMA %I FROM %I', current_schema(), owned);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I REVOKE ALL ON TABLES FROM %I',
            proprietor, current_schema(), owned);
        EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I REVOKE ALL ON SEQUENCES FROM %I',
            proprietor, current_schema(), owned);
    END LOOP;
END;
$$;

ALTER FUNCTION guard_audit_delete() SET search_path FROM CURRENT;
DROP TRIGGER trg_audit_legal_holds_wait ON audit_legal_holds;
DROP FUNCTION wait_for_audit_purge();

ALTER TABLE audit_logs RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold);
DROP INDEX ix_audit_logs_performed_at, ix_audit_logs_performed_by, ix_audit_logs_resource, ix_audit_logs_action,
    ix_audit_logs_retain_until;
CREATE INDEX ix_audit_logs_performed_at ON audit_logs (performed_at DESC, id);
CREATE INDEX ix_audit_logs_performed_by ON audit_logs (performed_by, performed_at DESC);
CREATE INDEX ix_audit_logs_resource ON audit_logs (resource_type, resource_id, performed_at DESC);
CREATE INDEX ix_audit_logs_action ON audit_logs (action, performed_at DESC);
"#;
