//! Schemas of virtual machines per KubeVirt minor version.

use async_trait::async_trait;
use shepherd_domain::ids::TemplateId;
use shepherd_ports::RepositoryError;
use shepherd_ports::schemas::{ActiveTemplate, NewSchema, SchemaQueries, SchemaRecord, SchemaRepository, SizeVerdict};
use shepherd_ports::sizes::SizeRecord;

use crate::errors::mismatch;
use crate::sizes::size_rows;
use crate::statement::{Uuids, execute, fetch_all, select_all, select_one, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// Two replicas that fetch the same version store it once.
const INSERT: &str = "INSERT INTO kubevirt_schemas (minor_version, schema, source, sha256, fetched_at) \
     VALUES ($1, $2, 'cluster', $3, $4) ON CONFLICT (minor_version) DO NOTHING";

/// A size that was changed after it was read keeps what the change found.
const RECORD_VERDICTS: &str = "WITH verdict AS ( \
         SELECT v.id, v.row_version, v.valid, CASE WHEN v.valid THEN 'valid' ELSE 'invalid' END AS status \
         FROM jsonb_to_recordset($1::jsonb) AS v (id uuid, row_version bigint, valid boolean) \
     ), changed AS ( \
         UPDATE instance_sizes z SET validation_status = verdict.status FROM verdict \
         WHERE z.id = verdict.id AND z.row_version = verdict.row_version AND z.validation_status <> verdict.status \
         RETURNING z.name, verdict.valid \
     ) \
     SELECT to_jsonb(name) AS doc FROM changed WHERE NOT valid ORDER BY name";

const TAKE_BACK_VALIDATION: &str = "WITH changed AS ( \
         UPDATE templates SET validated_at = NULL WHERE id = ANY($1) AND validated_at IS NOT NULL RETURNING name \
     ) \
     SELECT to_jsonb(name) AS doc FROM changed ORDER BY name";

#[async_trait]
impl SchemaRepository for PgUnitOfWork {
    async fn insert(&mut self, schema: &NewSchema) -> Result<bool, RepositoryError> {
        let values = values![schema.minor_version, schema.schema, schema.sha256, schema.fetched_at];
        execute(&self.tx, INSERT, values).await.map(|rows| rows == 1)
    }

    async fn record_verdicts(&mut self, verdicts: &[SizeVerdict]) -> Result<Vec<String>, RepositoryError> {
        let verdicts = serde_json::to_value(verdicts).map_err(mismatch)?;
        fetch_all(&self.tx, RECORD_VERDICTS, values![verdicts]).await
    }

    async fn take_back_validation(&mut self, templates: &[TemplateId]) -> Result<Vec<String>, RepositoryError> {
        let ids = Uuids(templates.iter().map(|id| id.as_uuid()).collect());
        fetch_all(&self.tx, TAKE_BACK_VALIDATION, values![ids]).await
    }
}

#[async_trait]
impl SchemaQueries for PgStore {
    async fn stored_schema(&self, minor_version: &str) -> Result<Option<SchemaRecord>, RepositoryError> {
        let sql = "SELECT minor_version, schema, source, sha256, fetched_at FROM kubevirt_schemas \
                   WHERE minor_version = $1";
        select_one(&self.db, sql, values![minor_version]).await
    }

    async fn stored_schema_versions(&self) -> Result<Vec<String>, RepositoryError> {
        let sql = "SELECT to_jsonb(minor_version) AS doc FROM kubevirt_schemas";
        fetch_all(&self.db, sql, values![]).await
    }

    async fn sizes_to_validate(&self) -> Result<Vec<SizeRecord>, RepositoryError> {
        select_all(&self.db, concat!(size_rows!(), " ORDER BY z.name"), values![]).await
    }

    async fn templates_to_validate(&self) -> Result<Vec<ActiveTemplate>, RepositoryError> {
        let sql = "SELECT t.id, t.name, t.version, t.spec FROM templates t WHERE t.status = 'active' ORDER BY t.name";
        select_all(&self.db, sql, values![]).await
    }
}
