//! Audit rows stay, but for the retention role, after their time, and without a legal hold.

use sea_orm::sqlx::{self, Executor};

use crate::{Database, TestResult, refused_by};

#[tokio::test]
async fn nobody_changes_an_audit_row() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            (
                "trg_audit_logs_append_only",
                "UPDATE audit_logs SET outcome = 'failure'",
            ),
            ("trg_audit_logs_append_only", "TRUNCATE audit_logs"),
            ("trg_audit_logs_delete", "DELETE FROM audit_logs"),
        ])
        .await
}

#[tokio::test]
async fn a_misspelt_legal_hold_is_refused() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            (
                "ck_audit_legal_holds_filter",
                r#"UPDATE audit_legal_holds SET filter = '{"actoin": "vm.create"}'"#,
            ),
            (
                "ck_audit_legal_holds_filter",
                r#"UPDATE audit_legal_holds SET filter = '{"action": null}'"#,
            ),
            (
                "ck_audit_legal_holds_filter",
                "UPDATE audit_legal_holds SET filter = '[]'",
            ),
        ])
        .await
}

/// What becomes of a DELETE by the retention role after `preparation`: how many rows went, or who refused.
async fn purge(database: &Database, preparation: &'static str) -> Result<Result<u64, String>, sqlx::Error> {
    // Roles belong to the server and outlive the database of a test, so the transaction is never committed.
    const BECOME_RETENTION: &str = "
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'shepherd_retention') THEN
                CREATE ROLE shepherd_retention;
            END IF;
        END $$;
        GRANT SELECT, DELETE ON audit_logs TO shepherd_retention;
        GRANT SELECT ON audit_legal_holds TO shepherd_retention;
        SET LOCAL ROLE shepherd_retention";
    let mut transaction = database.pool().begin().await?;
    transaction.execute(sqlx::raw_sql(preparation)).await?;
    transaction.execute(sqlx::raw_sql(BECOME_RETENTION)).await?;
    let outcome = match transaction.execute("DELETE FROM audit_logs").await {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) => Err(refused_by(&error).ok_or(error)?),
    };
    transaction.rollback().await?;
    Ok(outcome)
}

#[tokio::test]
async fn the_retention_role_removes_what_has_expired() -> TestResult {
    let database = Database::filled().await?;
    assert_eq!(purge(&database, "SELECT").await?, Ok(1));
    Ok(())
}

#[tokio::test]
async fn the_retention_role_leaves_what_has_not_expired() -> TestResult {
    const YOUNG_ROW: &str = "
        INSERT INTO audit_logs (
            id, action, action_code, performed_by, performed_by_name, resource_type, resource_id, outcome,
            retention_class, retain_until
        )
        VALUES (
            gen_random_uuid(), 'vm.start', 'EXECUTION_COMPLETED', 'x', 'x', 'vm', 'x', 'success', 'prod',
            now() + interval '1 day'
        )";
    let database = Database::filled().await?;
    let outcome = purge(&database, YOUNG_ROW).await?;
    assert_eq!(outcome, Err("trg_audit_logs_delete".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_legal_hold_keeps_what_it_covers_until_it_is_released() -> TestResult {
    const COVERING: &str = r#"
        UPDATE audit_legal_holds SET filter = '{"action": "vm.request", "environment": "test"}'"#;
    const COVERING_EVERYTHING: &str = "UPDATE audit_legal_holds SET filter = '{}'";
    const COVERING_ANOTHER: &str = r#"
        UPDATE audit_legal_holds SET filter = '{"action": "vm.request", "environment": "prod"}'"#;
    const RELEASED: &str = "UPDATE audit_legal_holds SET filter = '{}', released_at = now()";
    let held = Err("trg_audit_logs_delete".to_owned());
    let database = Database::filled().await?;
    assert_eq!(purge(&database, COVERING).await?, held);
    assert_eq!(purge(&database, COVERING_EVERYTHING).await?, held);
    assert_eq!(purge(&database, COVERING_ANOTHER).await?, Ok(1));
    assert_eq!(purge(&database, RELEASED).await?, Ok(1));
    Ok(())
}
