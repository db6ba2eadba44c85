//! Whatever changes somebody's rights raises the epoch, and nothing else does.

use crate::{Database, TestResult};

const EPOCH: &str = "SELECT epoch FROM authz_epoch";

#[tokio::test]
async fn a_change_of_rights_raises_the_epoch() -> TestResult {
    let database = Database::filled().await?;
    for change in [
        "UPDATE users SET enabled = false",
        "UPDATE roles SET enabled = false",
        "UPDATE role_bindings SET allowed_environments = '{test,prod}'",
        "UPDATE resource_role_bindings SET role = 'admin'",
        "INSERT INTO roles (id, name, permissions) VALUES (gen_random_uuid(), 'Other', '{vm:read}')",
        "INSERT INTO role_bindings (id, user_id, role_id, source, created_by)
         SELECT gen_random_uuid(), user_id, role_id, 'seed', 'x' FROM role_bindings",
        "INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, granted_by)
         SELECT gen_random_uuid(), user_id, resource_type, gen_random_uuid(), 'x' FROM resource_role_bindings",
        "DELETE FROM resource_role_bindings",
        "DELETE FROM role_bindings",
        "DELETE FROM roles WHERE name = 'Other'",
        "DELETE FROM users",
    ] {
        let before = database.number(EPOCH).await?;
        database.run(change).await?;
        assert!(database.number(EPOCH).await? > before, "{change}");
    }
    Ok(())
}

#[tokio::test]
async fn everything_else_leaves_the_epoch_alone() -> TestResult {
    let database = Database::filled().await?;
    let before = database.number(EPOCH).await?;
    for change in [
        "UPDATE users SET last_login_at = now(), display_name = 'Ada L.'",
        "UPDATE user_sessions SET last_seen_at = now()",
        "DELETE FROM role_bindings WHERE expires_at < now()",
        "UPDATE systems SET description = 'new'",
    ] {
        database.run(change).await?;
        assert_eq!(database.number(EPOCH).await?, before, "{change}");
    }
    Ok(())
}
