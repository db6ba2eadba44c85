//! Systems and who works on them.

use async_trait::async_trait;
use shepherd_domain::ActorId;
use shepherd_domain::access::{ResourceRole, Visibility};
use shepherd_domain::ids::{MembershipId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::systems::{
    Changed, NameOrCreated, NewSystem, SystemQueries, SystemRecord, SystemRepository, TextsPatch,
};

use crate::statement::{Bind, Filter, List, Uuids, execute, fetch_one, select_one, uuid_in, values};
use crate::store::PgStore;
use crate::unit_of_work::{PgUnitOfWork, Transaction};

macro_rules! system_rows {
    () => {
        concat!(
            "SELECT s.id, s.name, s.description, s.documentation, s.created_by, \
             (SELECT COALESCE(u.display_name, u.username) FROM users u WHERE u.id = ",
            uuid_in!("s.created_by"),
            ") AS created_by_name, s.tenant_id, \
             (SELECT count(*) FROM services v WHERE v.system_id = s.id) AS service_count, \
             s.row_version, s.created_at, s.updated_at FROM systems s"
        )
    };
}

/// What became of an UPDATE that was tied to a version.
///
/// `version_of` reads the `row_version` of the row with id `$1`.
pub(crate) async fn change_outcome(
    tx: &Transaction,
    changed_rows: u64,
    version_of: &str,
    id: impl Bind,
) -> Result<Changed, RepositoryError> {
    if changed_rows > 0 {
        return Ok(Changed::Yes);
    }
    let current: Option<i64> = fetch_one(tx, version_of, values![id]).await?;
    Ok(current.map_or(Changed::Gone, |current| Changed::VersionMismatch { current }))
}

/// The parameters of a text that may be left, set or cleared: whether to write it, and what.
pub(crate) fn patched(text: &Option<Option<String>>) -> (bool, Option<String>) {
    (text.is_some(), text.clone().flatten())
}

#[async_trait]
impl SystemRepository for PgUnitOfWork {
    async fn insert(&mut self, system: &NewSystem) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO systems (id, name, description, documentation, created_by) VALUES ($1, $2, $3, $4, $5)";
        let values = values![
            system.id,
            system.name,
            system.description,
            system.documentation,
            system.created_by
        ];
        execute(&self.tx, sql, values).await.map(drop)
    }

    async fn add_member(
        &mut self,
        id: MembershipId,
        system: SystemId,
        user: UserId,
        role: ResourceRole,
        granted_by: &ActorId,
    ) -> Result<(), RepositoryError> {
        let sql = "INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, role, granted_by) \
                   VALUES ($1, $2, 'system', $3, $4, $5)";
        execute(&self.tx, sql, values![id, user, system, role, granted_by])
            .await
            .map(drop)
    }

    async fn update_texts(
        &mut self,
        id: SystemId,
        patch: &TextsPatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let sql = "UPDATE systems SET description = CASE WHEN $3 THEN $4 ELSE description END, \
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
            "SELECT to_jsonb(row_version) AS doc FROM systems WHERE id = $1",
            id,
        )
        .await
    }

    async fn lock_and_count_services(&mut self, id: SystemId) -> Result<Option<i64>, RepositoryError> {
        let lock = "SELECT to_jsonb(id) AS doc FROM systems WHERE id = $1 FOR UPDATE";
        if fetch_one::<SystemId>(&self.tx, lock, values![id]).await?.is_none() {
            return Ok(None);
        }
        // A statement of its own: it sees what was committed while the lock was waited for.
        let count = "SELECT to_jsonb(count(*)) AS doc FROM services WHERE system_id = $1";
        fetch_one(&self.tx, count, values![id]).await
    }

    async fn delete(&mut self, id: SystemId) -> Result<bool, RepositoryError> {
        // Role bindings that name the System could never match again, and would show in the lists of their users. They go
        // first: the other DELETE raises the epoch, for which whoever removes a binding waits while holding it.
        let scoped = "DELETE FROM role_bindings WHERE scope_type = 'system' AND scope_id = $1";
        execute(&self.tx, scoped, values![id]).await?;
        let memberships = "DELETE FROM resource_role_bindings WHERE resource_type = 'system' AND resource_id = $1";
        execute(&self.tx, memberships, values![id]).await?;
        Ok(execute(&self.tx, "DELETE FROM systems WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl SystemQueries for PgStore {
    async fn get_system(&self, id: SystemId) -> Result<Option<SystemRecord>, RepositoryError> {
        select_one(&self.db, concat!(system_rows!(), " WHERE s.id = $1"), values![id]).await
    }

    async fn list_systems(
        &self,
        visibility: &Visibility,
        q: Option<&str>,
        sort: NameOrCreated,
        descending: bool,
        page: PageRequest,
    ) -> Result<Page<SystemRecord>, RepositoryError> {
        let mut filter = Filter::default();
        if let Visibility::Limited(limited) = visibility {
            filter.and("s.id = ANY(?)", values![Uuids::systems(&limited.systems)]);
        }
        if let Some(q) = q {
            let found = "(strpos(lower(s.name), lower(?)) > 0 OR strpos(lower(s.description), lower(?)) > 0)";
            filter.and(found, values![q, q]);
        }
        let rows = match (sort, descending) {
            (NameOrCreated::Name, false) => concat!(system_rows!(), " WHERE {where} ORDER BY s.name {limit}"),
            (NameOrCreated::Name, true) => concat!(system_rows!(), " WHERE {where} ORDER BY s.name DESC {limit}"),
            (NameOrCreated::CreatedAt, false) => {
                concat!(system_rows!(), " WHERE {where} ORDER BY s.created_at, s.id {limit}")
            }
            (NameOrCreated::CreatedAt, true) => {
                concat!(
                    system_rows!(),
                    " WHERE {where} ORDER BY s.created_at DESC, s.id DESC {limit}"
                )
            }
        };
        List {
            rows,
            counted: "systems s",
            filter,
        }
        .page(&self.db, page)
        .await
    }
}
