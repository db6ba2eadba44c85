//! Templates and instance sizes.

use async_trait::async_trait;
use shepherd_domain::ActorId;
use shepherd_domain::catalog::{InstanceSize, TemplateStatus};
use shepherd_domain::ids::{InstanceSizeId, TemplateId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::catalog::{
    CatalogQueries, CatalogRepository, NewTemplate, SizeRecord, TemplateFilter, TemplateRecord,
};

use crate::errors::mismatch;
use crate::statement::{Filter, List, Texts, execute, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! template_rows {
    () => {
        "SELECT t.id, t.name, t.version, t.status, t.display_name, t.description, t.category, t.os_family, \
         t.os_version, t.spec, t.content_sha256, t.row_version, t.created_at FROM templates t"
    };
}
pub(crate) use template_rows;

macro_rules! size_rows {
    () => {
        "SELECT z.id, z.name, z.display_name, z.description, z.cpu_cores, z.memory_mb, z.disk_gb, z.min_disk_gb, \
         z.max_disk_gb, z.cpu_request, z.memory_request_mb, z.dedicated_cpu, z.requires_gpu, z.requires_sriov, \
         z.requires_hugepages, z.hugepages_size, z.gpu_devices, z.capabilities, z.sort_order, z.enabled, \
         z.validation_status, z.created_by, z.row_version, z.created_at, z.updated_at FROM instance_sizes z"
    };
}
pub(crate) use size_rows;

const INSERT_TEMPLATE: &str = "WITH added AS ( \
         INSERT INTO templates (id, name, version, status, display_name, description, category, os_family, \
             os_version, spec, content_sha256, validated_at, source, created_by, published_by, published_at, \
             created_at, updated_at) \
         VALUES ($1, $2, \
             COALESCE($3::int, (SELECT COALESCE(max(t.version), 0) + 1 FROM templates t WHERE t.name = $2)), \
             $4, $5, $6, $7, $8, $9, $10, $11, $12, CASE WHEN $13 THEN 'seed' ELSE 'api' END, $14, \
             CASE WHEN $4 = 'active' THEN $14 END, CASE WHEN $4 = 'active' THEN $12::timestamptz END, $12, $12) \
         RETURNING version) \
     SELECT to_jsonb(version) AS doc FROM added";

/// The stamp of the derived columns is their digest: the database refuses to change one without the other.
const INSERT_SIZE: &str = "INSERT INTO instance_sizes (id, name, display_name, description, cpu_cores, memory_mb, \
         disk_gb, min_disk_gb, max_disk_gb, cpu_request, memory_request_mb, dedicated_cpu, requires_gpu, \
         requires_sriov, requires_hugepages, hugepages_size, gpu_devices, capabilities, sort_order, enabled, \
         created_by, derived_sha256) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
         encode(sha256(convert_to(jsonb_build_array($5::int, $6::int, $12::bool, $13::bool, $14::bool, $15::bool, \
             $16::text, $17::jsonb, $18::text[])::text, 'UTF8')), 'hex'))";

#[async_trait]
impl CatalogRepository for PgUnitOfWork {
    async fn insert_template(&mut self, template: &NewTemplate) -> Result<i32, RepositoryError> {
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
        ];
        let version: Option<i32> = fetch_one(&self.tx, INSERT_TEMPLATE, values).await?;
        version.ok_or_else(|| RepositoryError::Other("an INSERT answered no row".into()))
    }

    async fn template_exists(&mut self, name: &str) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(EXISTS (SELECT FROM templates WHERE name = $1)) AS doc";
        Ok(fetch_one(&self.tx, sql, values![name]).await?.unwrap_or_default())
    }

    async fn insert_size(&mut self, size: &InstanceSize, created_by: &ActorId) -> Result<(), RepositoryError> {
        let gpu_devices = serde_json::to_value(&size.gpu_devices).map_err(mismatch)?;
        let values = values![
            size.id,
            size.name,
            size.display_name,
            size.description,
            size.cpu_cores,
            size.memory_mb,
            size.disk_gb,
            size.min_disk_gb,
            size.max_disk_gb,
            size.cpu_request,
            size.memory_request_mb,
            size.dedicated_cpu,
            size.requires_gpu,
            size.requires_sriov,
            size.requires_hugepages,
            size.hugepages_size,
            gpu_devices,
            Texts(size.capabilities.clone()),
            size.sort_order,
            size.enabled,
            created_by,
        ];
        execute(&self.tx, INSERT_SIZE, values).await.map(drop)
    }

    async fn size_exists(&mut self, name: &str) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(EXISTS (SELECT FROM instance_sizes WHERE name = $1)) AS doc";
        Ok(fetch_one(&self.tx, sql, values![name]).await?.unwrap_or_default())
    }
}

#[async_trait]
impl CatalogQueries for PgStore {
    async fn get_template(&self, id: TemplateId) -> Result<Option<TemplateRecord>, RepositoryError> {
        select_one(&self.db, concat!(template_rows!(), " WHERE t.id = $1"), values![id]).await
    }

    async fn get_template_version(&self, name: &str, version: i32) -> Result<Option<TemplateRecord>, RepositoryError> {
        let sql = concat!(template_rows!(), " WHERE t.name = $1 AND t.version = $2");
        select_one(&self.db, sql, values![name, version]).await
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

    async fn get_size(&self, id: InstanceSizeId) -> Result<Option<SizeRecord>, RepositoryError> {
        select_one(&self.db, concat!(size_rows!(), " WHERE z.id = $1"), values![id]).await
    }

    async fn list_sizes(&self, enabled_only: bool) -> Result<Vec<SizeRecord>, RepositoryError> {
        let sql = concat!(
            size_rows!(),
            " WHERE z.enabled OR NOT $1 ORDER BY z.sort_order, z.name LIMIT 1000"
        );
        select_all(&self.db, sql, values![enabled_only]).await
    }
}
