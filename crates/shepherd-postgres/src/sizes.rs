//! Instance sizes.

use async_trait::async_trait;
use sea_orm::Value;
use shepherd_domain::ActorId;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::sizes::{SizeQueries, SizeRecord, SizeRepository};
use shepherd_ports::systems::Changed;

use crate::errors::mismatch;
use crate::statement::{Filter, List, Texts, execute, fetch_one, select_all, select_one, values};
use crate::store::PgStore;
use crate::systems::change_outcome;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! size_rows {
    () => {
        "SELECT z.id, z.name, z.display_name, z.description, z.cpu_cores, z.memory_mb, z.disk_gb, z.min_disk_gb, \
         z.max_disk_gb, z.cpu_request, z.memory_request_mb, z.dedicated_cpu, z.requires_gpu, z.requires_sriov, \
         z.requires_hugepages, z.hugepages_size, z.gpu_devices, z.spec_overrides, z.capabilities, z.sort_order, \
         z.enabled, z.cpu_overcommit_enabled, z.memory_overcommit_enabled, z.validation_status, z.created_by, \
         z.row_version, z.created_at, z.updated_at FROM instance_sizes z"
    };
}
pub(crate) use size_rows;

/// The stamp of the derived columns, over them and what they are derived from: the database refuses to change a column
/// without its stamp.
macro_rules! stamp {
    () => {
        "encode(sha256(convert_to(jsonb_build_array($5::int, $6::int, $12::bool, $13::bool, $14::bool, $15::bool, \
             $16::text, $17::jsonb, $18::jsonb, $19::text[])::text, 'UTF8')), 'hex')"
    };
}

const INSERT_SIZE: &str = concat!(
    "INSERT INTO instance_sizes (id, name, display_name, description, cpu_cores, memory_mb, disk_gb, min_disk_gb, \
         max_disk_gb, cpu_request, memory_request_mb, dedicated_cpu, requires_gpu, requires_sriov, \
         requires_hugepages, hugepages_size, gpu_devices, spec_overrides, capabilities, sort_order, enabled, \
         created_by, validation_status, derived_sha256) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, \
         'valid', ",
    stamp!(),
    ")"
);

const UPDATE_SIZE: &str = concat!(
    "UPDATE instance_sizes SET name = $2, display_name = $3, description = $4, cpu_cores = $5, memory_mb = $6, \
         disk_gb = $7, min_disk_gb = $8, max_disk_gb = $9, cpu_request = $10, memory_request_mb = $11, \
         dedicated_cpu = $12, requires_gpu = $13, requires_sriov = $14, requires_hugepages = $15, \
         hugepages_size = $16, gpu_devices = $17, spec_overrides = $18, capabilities = $19, sort_order = $20, \
         enabled = $21, validation_status = 'valid', derived_sha256 = ",
    stamp!(),
    " WHERE id = $1 AND ($22::bigint IS NULL OR row_version = $22)"
);

const COUNT_OPEN_TICKETS: &str = "SELECT to_jsonb(count(*)) AS doc FROM approval_tickets \
     WHERE (instance_size_id = $1 OR modified_spec ->> 'instance_size_id' = $1::text) \
         AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')";

/// The columns that a write gives, as `$1` to `$21`.
fn columns(size: &InstanceSize) -> Result<Vec<Value>, RepositoryError> {
    let gpu_devices = serde_json::to_value(&size.gpu_devices).map_err(mismatch)?;
    let spec_overrides = serde_json::to_value(&size.spec_overrides).map_err(mismatch)?;
    Ok(values![
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
        spec_overrides,
        Texts(size.capabilities.clone()),
        size.sort_order,
        size.enabled,
    ])
}

#[async_trait]
impl SizeRepository for PgUnitOfWork {
    async fn insert(&mut self, size: &InstanceSize, created_by: &ActorId) -> Result<(), RepositoryError> {
        let mut parameters = columns(size)?;
        parameters.extend(values![created_by]);
        execute(&self.tx, INSERT_SIZE, parameters).await.map(drop)
    }

    async fn exists(&mut self, name: &str) -> Result<bool, RepositoryError> {
        let sql = "SELECT to_jsonb(EXISTS (SELECT FROM instance_sizes WHERE name = $1)) AS doc";
        Ok(fetch_one(&self.tx, sql, values![name]).await?.unwrap_or_default())
    }

    async fn lock(&mut self, id: InstanceSizeId) -> Result<Option<SizeRecord>, RepositoryError> {
        let sql = concat!(size_rows!(), " WHERE z.id = $1 FOR UPDATE OF z");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn hold(&mut self, id: InstanceSizeId) -> Result<Option<bool>, RepositoryError> {
        let sql = "SELECT to_jsonb(enabled) AS doc FROM instance_sizes WHERE id = $1 FOR SHARE";
        fetch_one(&self.tx, sql, values![id]).await
    }

    async fn update(&mut self, size: &InstanceSize, version: Option<i64>) -> Result<Changed, RepositoryError> {
        let mut parameters = columns(size)?;
        parameters.extend(values![version]);
        let changed = execute(&self.tx, UPDATE_SIZE, parameters).await?;
        let version_of = "SELECT to_jsonb(row_version) AS doc FROM instance_sizes WHERE id = $1";
        change_outcome(&self.tx, changed, version_of, size.id).await
    }

    async fn count_open_tickets(&mut self, id: InstanceSizeId) -> Result<i64, RepositoryError> {
        Ok(fetch_one(&self.tx, COUNT_OPEN_TICKETS, values![id])
            .await?
            .unwrap_or_default())
    }

    async fn delete(&mut self, id: InstanceSizeId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM instance_sizes WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl SizeQueries for PgStore {
    async fn get_size(&self, id: InstanceSizeId) -> Result<Option<SizeRecord>, RepositoryError> {
        select_one(&self.db, concat!(size_rows!(), " WHERE z.id = $1"), values![id]).await
    }

    async fn list_sizes(&self, enabled_only: bool) -> Result<Vec<SizeRecord>, RepositoryError> {
        let sql = concat!(size_rows!(), " WHERE z.enabled OR NOT $1 ORDER BY z.sort_order, z.name");
        select_all(&self.db, sql, values![enabled_only]).await
    }

    async fn page_of_sizes(&self, enabled_only: bool, page: PageRequest) -> Result<Page<SizeRecord>, RepositoryError> {
        let mut filter = Filter::default();
        if enabled_only {
            filter.and("z.enabled", values![]);
        }
        List {
            rows: concat!(size_rows!(), " WHERE {where} ORDER BY z.sort_order, z.name {limit}"),
            counted: "instance_sizes z",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
