//! Approval policies.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::{PolicyId, ServiceId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::policy::PolicyOperation;
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::RepositoryError;
use shepherd_ports::policies::{
    MissingReferences, PolicyContent, PolicyQueries, PolicyRecord, PolicyReferences, PolicyRepository, Requesting,
    RuleInputs,
};
use shepherd_ports::systems::Changed;

use crate::errors::mismatch;
use crate::statement::{Filter, List, Texts, Uuids, execute, fetch_one, select_one, uuid_in, values};
use crate::store::PgStore;
use crate::systems::change_outcome;
use crate::unit_of_work::PgUnitOfWork;

macro_rules! policy_rows {
    () => {
        "SELECT p.id, p.name, p.description, p.operation, p.environment, p.matchers, p.requires_approval, \
         p.approvers, p.external_system_id, p.priority, p.enabled, p.created_by, p.row_version, p.created_at, \
         p.updated_at FROM approval_policies p"
    };
}

/// The one place that says which roles somebody holds, by their keys and those without one by their ids: globally in an
/// environment at a time, and where else the condition says.
macro_rules! role_keys {
    ($user:literal, $environment:literal, $elsewhere:literal, $at:literal) => {
        concat!(
            "SELECT DISTINCT COALESCE(r.key, r.id::text) AS key FROM role_bindings b \
                 JOIN roles r ON r.id = b.role_id AND r.enabled \
             WHERE b.user_id = ",
            $user,
            "::uuid AND ",
            $environment,
            "::text = ANY(b.allowed_environments) AND (b.scope_type = 'global'",
            $elsewhere,
            ") AND (b.expires_at IS NULL OR b.expires_at > ",
            $at,
            "::timestamptz)"
        )
    };
}
pub(crate) use role_keys;

/// The keys of the roles that user `$1` holds in environment `$2` at `$4`, globally or on System `$3`.
macro_rules! role_keys_there {
    () => {
        role_keys!("$1", "$2", " OR b.scope_id = $3::uuid", "$4")
    };
}

const INSERT: &str = "INSERT INTO approval_policies (id, name, description, operation, environment, matchers, \
         requires_approval, approvers, external_system_id, priority, enabled, created_by) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const REPLACE: &str = "UPDATE approval_policies SET name = $3, description = $4, operation = $5, environment = $6, \
         matchers = $7, requires_approval = $8, approvers = $9, external_system_id = $10, priority = $11, \
         enabled = $12 \
     WHERE id = $1 AND ($2::bigint IS NULL OR row_version = $2)";

/// One statement, so that policies and roles are of the same moment.
const RULE_INPUTS: &str = concat!(
    "SELECT jsonb_build_object( \
         'policies', (SELECT COALESCE(jsonb_agg(to_jsonb(c)), '[]') FROM (",
    policy_rows!(),
    " WHERE p.enabled AND p.operation IN ($5, 'ANY') AND p.environment IN ($2, 'all')) c), \
         'roles', (SELECT COALESCE(jsonb_agg(k.key), '[]') FROM (",
    role_keys_there!(),
    ") k)) AS doc"
);

const ROLE_KEYS: &str = concat!(
    "SELECT COALESCE(jsonb_agg(k.key ORDER BY k.key), '[]') AS doc FROM (",
    role_keys_there!(),
    ") k"
);

/// What is missing stands in the order in which it was asked for.
const MISSING: &str = concat!(
    "SELECT jsonb_build_object( \
         'systems', (SELECT COALESCE(jsonb_agg(x::text ORDER BY n), '[]') \
             FROM unnest($1::uuid[]) WITH ORDINALITY AS given (x, n) \
             WHERE NOT EXISTS (SELECT FROM systems s WHERE s.id = x)), \
         'services', (SELECT COALESCE(jsonb_agg(x::text ORDER BY n), '[]') \
             FROM unnest($2::uuid[]) WITH ORDINALITY AS given (x, n) \
             WHERE NOT EXISTS (SELECT FROM services s WHERE s.id = x)), \
         'sizes', (SELECT COALESCE(jsonb_agg(x::text ORDER BY n), '[]') \
             FROM unnest($3::uuid[]) WITH ORDINALITY AS given (x, n) \
             WHERE NOT EXISTS (SELECT FROM instance_sizes z WHERE z.id = x)), \
         'users', (SELECT COALESCE(jsonb_agg(x::text ORDER BY n), '[]') \
             FROM unnest($4::uuid[]) WITH ORDINALITY AS given (x, n) \
             WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = x)), \
         'roles', (SELECT COALESCE(jsonb_agg(x ORDER BY n), '[]') \
             FROM unnest($5::text[]) WITH ORDINALITY AS given (x, n) \
             WHERE NOT EXISTS (SELECT FROM roles r WHERE COALESCE(r.key, r.id::text) = x)), \
         'approvers', (SELECT COALESCE(jsonb_agg(x ORDER BY n), '[]') \
             FROM unnest($6::text[]) WITH ORDINALITY AS given (x, n) \
             WHERE NOT EXISTS (SELECT FROM roles r WHERE COALESCE(r.key, r.id::text) = x) \
                 AND NOT EXISTS (SELECT FROM users u WHERE u.id = ",
    uuid_in!("x"),
    "))) AS doc"
);

#[async_trait]
impl PolicyRepository for PgUnitOfWork {
    async fn insert(&mut self, id: PolicyId, content: &PolicyContent, by: &ActorId) -> Result<(), RepositoryError> {
        let matchers = serde_json::to_value(&content.matchers).map_err(mismatch)?;
        let values = values![
            id,
            content.name,
            content.description,
            content.operation.as_str(),
            content.environment.as_str(),
            matchers,
            content.requires_approval,
            Texts(content.approvers.clone()),
            content.external_system_id,
            content.priority,
            content.enabled,
            by,
        ];
        execute(&self.tx, INSERT, values).await.map(drop)
    }

    async fn hold(&mut self, id: PolicyId) -> Result<Option<PolicyRecord>, RepositoryError> {
        let sql = concat!(policy_rows!(), " WHERE p.id = $1 FOR UPDATE OF p");
        select_one(&self.tx, sql, values![id]).await
    }

    async fn replace(
        &mut self,
        id: PolicyId,
        content: &PolicyContent,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError> {
        let matchers = serde_json::to_value(&content.matchers).map_err(mismatch)?;
        let values = values![
            id,
            version,
            content.name,
            content.description,
            content.operation.as_str(),
            content.environment.as_str(),
            matchers,
            content.requires_approval,
            Texts(content.approvers.clone()),
            content.external_system_id,
            content.priority,
            content.enabled,
        ];
        let changed = execute(&self.tx, REPLACE, values).await?;
        let version_of = "SELECT to_jsonb(row_version) AS doc FROM approval_policies WHERE id = $1";
        change_outcome(&self.tx, changed, version_of, id).await
    }

    async fn delete(&mut self, id: PolicyId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, "DELETE FROM approval_policies WHERE id = $1", values![id]).await? > 0)
    }
}

#[async_trait]
impl PolicyQueries for PgStore {
    async fn get_policy(&self, id: PolicyId) -> Result<Option<PolicyRecord>, RepositoryError> {
        select_one(&self.db, concat!(policy_rows!(), " WHERE p.id = $1"), values![id]).await
    }

    async fn list_policies(
        &self,
        operation: Option<PolicyOperation>,
        page: PageRequest,
    ) -> Result<Page<PolicyRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and_some("p.operation = ?", operation.map(PolicyOperation::as_str));
        List {
            rows: concat!(
                policy_rows!(),
                " WHERE {where} ORDER BY p.priority DESC, p.name {limit}"
            ),
            counted: "approval_policies p",
            filter,
        }
        .page(&self.db, page)
        .await
    }

    async fn rule_inputs(&self, requesting: Requesting, now: DateTime<Utc>) -> Result<RuleInputs, RepositoryError> {
        let Requesting {
            operation,
            environment,
            requester,
            system,
        } = requesting;
        let values = values![requester, environment, system, now, operation];
        Ok(fetch_one(&self.db, RULE_INPUTS, values).await?.unwrap_or_default())
    }

    async fn role_keys(
        &self,
        user: UserId,
        environment: Environment,
        system: Option<SystemId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, RepositoryError> {
        let values = values![user, environment, system, now];
        Ok(fetch_one(&self.db, ROLE_KEYS, values).await?.unwrap_or_default())
    }

    async fn system_of(&self, service: ServiceId) -> Result<Option<SystemId>, RepositoryError> {
        let sql = "SELECT to_jsonb(system_id) AS doc FROM services WHERE id = $1";
        fetch_one(&self.db, sql, values![service]).await
    }

    async fn missing_references(&self, references: &PolicyReferences) -> Result<MissingReferences, RepositoryError> {
        let values = values![
            Uuids::systems(&references.systems),
            Uuids(references.services.iter().map(|id| id.as_uuid()).collect()),
            Uuids(references.sizes.iter().map(|id| id.as_uuid()).collect()),
            Uuids(references.users.iter().map(|id| id.as_uuid()).collect()),
            Texts(references.roles.clone()),
            Texts(references.approvers.clone()),
        ];
        Ok(fetch_one(&self.db, MISSING, values).await?.unwrap_or_default())
    }
}
