//! Rotation of encryption keys: whatever is sealed names a stored key.

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
CREATE UNIQUE INDEX uq_encryption_keys_active ON encryption_keys (purpose) WHERE state = 'active';

-- Before this step there was one key, the installation's own, and nobody noted it.
INSERT INTO encryption_keys (key_id, source)
    SELECT key_id, 'external' FROM (
        SELECT encryption_key_id AS key_id FROM clusters
        UNION SELECT secret_key_id FROM audit_webhooks
        UNION SELECT headers_key_id FROM audit_webhooks WHERE headers_key_id IS NOT NULL
    ) AS used
    WHERE NOT EXISTS (SELECT FROM encryption_keys WHERE state = 'active')
    ORDER BY key_id LIMIT 1
    ON CONFLICT DO NOTHING;

ALTER TABLE clusters ADD CONSTRAINT fk_clusters_encryption_key_id
    FOREIGN KEY (encryption_key_id) REFERENCES encryption_keys (key_id) ON DELETE RESTRICT;
ALTER TABLE audit_webhooks ADD CONSTRAINT fk_audit_webhooks_secret_key_id
    FOREIGN KEY (secret_key_id) REFERENCES encryption_keys (key_id) ON DELETE RESTRICT;
ALTER TABLE audit_webhooks ADD CONSTRAINT fk_audit_webhooks_headers_key_id
    FOREIGN KEY (headers_key_id) REFERENCES encryption_keys (key_id) ON DELETE RESTRICT;
"#;

const DOWN: &str = r#"
ALTER TABLE audit_webhooks DROP CONSTRAINT fk_audit_webhooks_headers_key_id;
ALTER TABLE audit_webhooks DROP CONSTRAINT fk_audit_webhooks_secret_key_id;
ALTER TABLE clusters DROP CONSTRAINT fk_clusters_encryption_key_id;
DROP INDEX uq_encryption_keys_active;
"#;
