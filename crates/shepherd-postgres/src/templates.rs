//! Templates.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::catalog::{FieldRule, TemplateStatus};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::transition::Transition;
use shepherd_ports::RepositoryError;
use shepherd_ports::templates::{
    NewTemplate, Publication, TemplateChange, TemplateFilter, TemplateQueries, TemplateRecord, TemplateRepository,
};

use crate::errors::mismatch;
use crate::statement::{Filter, List, execute, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! template_rows {
    () => {
        "SELECT t.id, t.name, t.version, t.status, t.display_name, t.description, t.category, t.os_family, \
         t.os_version, t.spec, t.quick_fields, t.advanced_fields, t.content_sha256, t.validated_at, t.source, \
         t.created_by, t.published_by, t.published_at, t.row_version, t.created_at, t.updated_at FROM templates t"
    };
}
pub(crate) use template_rows;

macro_rules! latest_template {
    () => {
        concat!(template_rows!(), " WHERE t.name = $1 ORDER BY t.version DESC LIMIT 1")
    };
}

/// The second half of the key of the advisory lock on a name: ASCII "template".
const NAME_LOCK: i64 = 0x7465_6d70_6c61_7465;

const INSERT_TEMPLATE: &str = "WITH added AS ( \
         INSERT INTO templates (id, name, version, status, display_name, description, category, os_family, \
             os_version, spec, content_sha256, validated_at, source, created_by, published_by, published_at, \
             created_at, updated_at, quick_fields, advanced_fields) \
         VALUES ($1, $2, \
             COALESCE($3::int, (SELECT COALESCE(max(t.version), 0) + 1 FROM templates t WHERE t.name = $2)), \
             $4, $5, $6, $7, $8, $9, $10, $11, $15, CASE WHEN $13 THEN 'seed' ELSE 'api' END, $14, \
             CASE WHEN $4 = 'active' THEN $14 END, CASE WHEN $4 = 'active' THEN $12::timestamptz END, $12, $12, \
             $16, $17) \
         RETURNING version) \
     SELECT to_jsonb(version) AS doc FROM added";

/// The content of a published version never changes: whoever asks for that makes a new version.
const UPDATE_TEMPLATE: &str = "UPDATE templates SET display_name = $2, description = $3, category = $4, \
         os_family = $5, os_version = $6, \
         spec = CASE WHEN status = 'draft' THEN $7 ELSE spec END, \
         quick_fields = CASE WHEN status = 'draft' THEN $8 ELSE quick_fields END, \
         advanced_fields = CASE WHEN status = 'draft' THEN $9 ELSE advanced_fields END, \
         content_sha256 = $10, \
         validated_at = CASE WHEN content_sha256 = $10 THEN COALESCE($11::timestamptz, validated_at) \
             ELSE $11::timestamptz END, \
         refused_at = CASE WHEN content_sha256 = $10 AND $11::timestamptz IS NULL THEN refused_at END \
     WHERE id = $1 AND (status = 'draft' OR (status IN ('active', 'deprecated') AND content_sha256 = $10))";

/// Runs after DEPRECATE_ACTIVE: within one statement, the unique index of active names would see both versions.
const PUBLISH_TEMPLATE: &str = "UPDATE templates SET status = $3, published_by = $4, published_at = $5, \
         validated_at = COALESCE($6::timestamptz, validated_at), \
         refused_at = CASE WHEN $6::timestamptz IS NULL THEN refused_at END \
     WHERE id = $1 AND status = $2";

const DEPRECATE_ACTIVE: &str = "UPDATE templates SET status = 'deprecated' WHERE status = 'active' \
         AND name = (SELECT t.name FROM templates t WHERE t.id = $1 AND t.status = $2) AND id <> $1";

/// A ticket names the version that its requester saw, and after its approval the one that was approved.
const COUNT_REFERENCES: &str = "SELECT to_jsonb(count(*)) AS doc FROM approval_tickets \
     WHERE status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING') \
         AND (template_id = $1::uuid OR template_snapshot ->> 'id' = ($1::uuid)::text)";

fn rules(rules: &[FieldRule]) -> Result<serde_json::Value, RepositoryError> {
    serde_json::to_value(rules).map_err(mismatch)
}

#[async_trait]
impl TemplateRepository for PgUnitOfWork {
    async fn insert(&mut self, template: &NewTemplate) -> Result<i32, RepositoryError> {
        if template.status == TemplateStatus::Active {
            // A statement of its own: within one, the unique index of active names would see both versions.
            let deprecate = "UPDATE templates SET status = 'deprecated' WHERE name = $1 AND status = 'active'";
            execute(&self.tx, deprecate, values![template.name]).await?;
        }
        let spec = serde_json::to_value(&template.spec).map_err(mismatch)?;
        let values = values![
            template.id,
            template.name,
            template.version,
            template.status,
            template.display_name,
            template.description,
            template.category,
            template.os_family,
            template.os_version,
            spec,
            template.content_sha256,
            template.at,
            template.seeded,
            template.created_by,
            template.validated_at,
            rules(&template.quick_fields)?,
            rules(&template.advanced_fields)?,
        ];
        let version: Option<i32> = fetch_one(&self.tx, INSERT_TEMPLATE, values).await?;
        version.ok_or_else(|| RepositoryError::Other("an INSERT answered no row".into()))
    }

    async fn exists(&mut self, name: &str) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(EXISTS (SELECT FROM templates WHERE name = $1)) AS doc";
        Ok(fetch_one(&self.tx, sql, values![name]).await?.unwrap_or_default())
    }

    async fn lock_name(&mut self, name: &str) -> Result<Option<i32>, RepositoryError> {
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, $2))";
        execute(&self.tx, lock, values![name, NAME_LOCK]).await?;
        // A statement of its own sees what was committed while this one waited.
        let newest = "SELECT to_jsonb(max(version)) AS doc FROM templates WHERE name = $1";
        Ok(fetch_one(&self.tx, newest, values![name]).await?.flatten())
    }

    async fn latest(&mut self, name: &str) -> Result<Option<TemplateRecord>, RepositoryError> {
        select_one(&self.tx, latest_template!(), values![name]).await
    }

    async fn lock(&mut self, id: TemplateId) -> Result<Option<TemplateRecord>, RepositoryError> {
        let sql = concat!(template_rows!(), " WHERE t.id = $1 FOR UPDATE OF t");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn hold(&mut self, id: TemplateId) -> Result<Option<TemplateStatus>, RepositoryError> {
        let sql = "SELECT to_jsonb(held.status) AS doc FROM \
                   (SELECT t.status FROM templates t WHERE t.id = $1 FOR SHARE OF t) held";
        fetch_one(&self.tx, sql, values![id]).await
    }

    async fn update(&mut self, id: TemplateId, change: &TemplateChange) -> Result<bool, RepositoryError> {
        let values = values![
            id,
            change.display_name,
            change.description,
            change.category,
            change.os_family,
            change.os_version,
            serde_json::to_value(&change.spec).map_err(mismatch)?,
            rules(&change.quick_fields)?,
            rules(&change.advanced_fields)?,
            change.content_sha256,
            change.validated_at,
        ];
        Ok(execute(&self.tx, UPDATE_TEMPLATE, values).await? > 0)
    }

    async fn publish(
        &mut self,
        id: TemplateId,
        step: Transition<TemplateStatus>,
        publication: &Publication,
    ) -> Result<bool, RepositoryError> {
        execute(&self.tx, DEPRECATE_ACTIVE, values![id, step.from()]).await?;
        let values = values![
            id,
            step.from(),
            step.to(),
            publication.by,
            publication.at,
            publication.validated_at,
        ];
        Ok(execute(&self.tx, PUBLISH_TEMPLATE, values).await? > 0)
    }

    async fn transition(&mut self, id: TemplateId, step: Transition<TemplateStatus>) -> Result<bool, RepositoryError> {
        let sql = "UPDATE templates SET status = $3 WHERE id = $1 AND status = $2";
        Ok(execute(&self.tx, sql, values![id, step.from(), step.to()]).await? > 0)
    }

    async fn count_references(&mut self, id: TemplateId) -> Result<i64, RepositoryError> {
        Ok(fetch_one(&self.tx, COUNT_REFERENCES, values![id])
            .await?
            .unwrap_or_default())
    }

    async fn delete_draft(&mut self, id: TemplateId) -> Result<bool, RepositoryError> {
        let sql = "DELETE FROM templates WHERE id = $1 AND status = 'draft'";
        Ok(execute(&self.tx, sql, values![id]).await? > 0)
    }

    async fn record_validation(
        &mut self,
        id: TemplateId,
        content_sha256: &str,
        valid: bool,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        let sql = "UPDATE templates SET validated_at = CASE WHEN $3 THEN $4::timestamptz END, \
                   refused_at = CASE WHEN $3 THEN NULL ELSE $4::timestamptz END \
                   WHERE id = $1 AND content_sha256 = $2 AND validated_at IS NULL AND refused_at IS NULL";
        Ok(execute(&self.tx, sql, values![id, content_sha256, valid, at]).await? > 0)
    }
}

#[async_trait]
impl TemplateQueries for PgStore {
    async fn get_template(&self, id: TemplateId) -> Result<Option<TemplateRecord>, RepositoryError> {
        select_one(&self.db, concat!(template_rows!(), " WHERE t.id = $1"), values![id]).await
    }

    async fn get_template_version(&self, name: &str, version: i32) -> Result<Option<TemplateRecord>, RepositoryError> {
        let sql = concat!(template_rows!(), " WHERE t.name = $1 AND t.version = $2");
        select_one(&self.db, sql, values![name, version]).await
    }

    async fn get_active_template(&self, name: &str) -> Result<Option<TemplateRecord>, RepositoryError> {
        let sql = concat!(template_rows!(), " WHERE t.name = $1 AND t.status = 'active'");
        select_one(&self.db, sql, values![name]).await
    }

    async fn get_latest_template(&self, name: &str) -> Result<Option<TemplateRecord>, RepositoryError> {
        select_one(&self.db, latest_template!(), values![name]).await
    }

    async fn list_templates(
        &self,
        filter: &TemplateFilter,
        page: PageRequest,
    ) -> Result<Page<TemplateRecord>, RepositoryError> {
        let TemplateFilter {
            name,
            status,
            os_family,
        } = filter;
        let mut filter = Filter::default();
        filter.and_some("t.name = ?", name.as_deref());
        filter.and_some("t.os_family = ?", os_family.as_deref());
        match status {
            Some(status) => filter.and("t.status = ?", values![status]),
            // Archived versions are hidden everywhere except by id, or when asked for.
            None => filter.and("t.status <> 'archived'", values![]),
        }
        let rows = concat!(
            template_rows!(),
            " WHERE {where} ORDER BY t.name, t.version DESC {limit}"
        );
        List {
            rows,
            counted: "templates t",
            filter,
        }
        .page(&self.db, page)
        .await
    }

    async fn unvalidated_templates(&self, limit: i64) -> Result<Vec<TemplateRecord>, RepositoryError> {
        let sql = concat!(
            template_rows!(),
            " WHERE t.status = 'active' AND t.validated_at IS NULL AND t.refused_at IS NULL ORDER BY t.name LIMIT $1"
        );
        select_all(&self.db, sql, values![limit]).await
    }
}
