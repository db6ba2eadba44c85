//! Services of Systems, and the instance numbers they hand out.

use async_trait::async_trait;
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::services::{NewService, ServiceQueries, ServiceRecord, ServiceRepository, ServiceUse};
use shepherd_ports::systems::{Changed, TextsPatch};

use crate::statement::{Filter, List, execute, fetch_one, select_one, values};
use crate::store::PgStore;
use crate::systems::{change_outcome, patched};
use crate::unit_of_work::PgUnitOfWork;

macro_rules! service_rows {
    () => {
        "SELECT s.id, s.system_id, s.name, s.description, s.documentation, s.next_instance_index, s.created_by, \
         (SELECT count(*) FROM vms v WHERE v.service_id = s.id) AS vm_count, \
         s.row_version, s.created_at, s.updated_at FROM services s"
    };
}

#[async_trait]
impl ServiceRepository for PgUnitOfWork {
    async fn insert(&mut self, service: &NewService) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO services (id, system_id, name, description, documentation, created_by) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let NewService {
            id,
            system_id,
            name,
            description,
            documentation,
            created_by,
        } = service;
        execute(
            &self.tx,
            sql,
            values![id, system_id, name, description, documentation, created_by],
        )
        .await
        .map(drop)
    }

    async fn update_texts(
        &mut self,
        id: ServiceId,
        patch: &TextsPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let sql = "UPDATE services SET description = CASE WHEN $3 THEN $4 ELSE description END, \
                   documentation = CASE WHEN $5 THEN $6 ELSE documentation END \
                   WHERE id = $1 AND ($2::bigint IS NULL OR row_version = $2)";
        let (set_description, description) = patched(&patch.description);
        let (set_documentation, documentation) = patched(&patch.documentation);
        let values = values![
            id,
            version,
            set_description,
            description,
            set_documentation,
            documentation
        ];
        let changed = execute(&self.tx, sql, values).await?;
        change_outcome(
            &self.tx,
            changed,
            "SELECT to_jsonb(row_version) AS doc FROM services WHERE id = $1",
            id,
        )
        .await
    }

    async fn take_instance_index(&mut self, id: ServiceId) -> Result<Option<i32>, RepositoryError> {
        let sql = "WITH taken AS (UPDATE services SET next_instance_index = next_instance_index + 1 WHERE id = $1 \
                   RETURNING next_instance_index - 1 AS number) SELECT to_jsonb(number) AS doc FROM taken";
        fetch_one(&self.tx, sql, values![id]).await
    }

    async fn lock_and_count_use(&mut self, id: ServiceId) -> Result<Option<ServiceUse>, RepositoryError> {
        let lock = "SELECT to_jsonb(id) AS doc FROM services WHERE id = $1 FOR UPDATE";
        if fetch_one::<ServiceId>(&self.tx, lock, values![id]).await?.is_none() {
            return Ok(None);
        }
        let count = "SELECT (SELECT count(*) FROM vms WHERE service_id = $1) AS vm_count, \
                     (SELECT count(*) FROM approval_tickets WHERE service_id = $1 AND request_type = 'CREATE_VM' \
                      AND status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')) \
                     AS pending_request_count";
        select_one(&self.tx, count, values![id]).await
    }

    async fn delete(&mut self, id: ServiceId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM services WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl ServiceQueries for PgStore {
    async fn get_service(&self, system: SystemId, id: ServiceId) -> Result<Option<ServiceRecord>, RepositoryError> {
        let sql = concat!(service_rows!(), " WHERE s.id = $1 AND s.system_id = $2");
        select_one(&self.db, sql, values![id, system]).await
    }

    async fn list_services(
        &self,
        system: SystemId,
        q: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<ServiceRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("s.system_id = ?", values![system]);
        if let Some(q) = q {
            let found = "(strpos(lower(s.name), lower(?)) > 0 OR strpos(lower(s.description), lower(?)) > 0)";
            filter.and(found, values![q, q]);
        }
        let rows = concat!(service_rows!(), " WHERE {where} ORDER BY s.name {limit}");
        List {
            rows,
            counted: "services s",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
