//! Approval policies.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{ExternalSystemId, InstanceSizeId, PolicyId, ServiceId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::policy::{Matchers, Policy, PolicyEnvironment, PolicyOperation};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::{ActorId, Environment};

use crate::error::RepositoryError;
use crate::systems::Changed;

/// Everything of a policy that people set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.13")]
pub struct PolicyContent {
    pub name: String,
    pub description: Option<String>,
    pub operation: PolicyOperation,
    pub environment: PolicyEnvironment,
    pub matchers: Matchers,
    pub requires_approval: bool,
    pub approvers: Vec<String>,
    pub external_system_id: Option<ExternalSystemId>,
    pub priority: i32,
    pub enabled: bool,
}

/// A stored policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.13")]
pub struct PolicyRecord {
    pub id: PolicyId,
    #[serde(flatten)]
    pub content: PolicyContent,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What a policy refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct PolicyReferences {
    pub systems: Vec<SystemId>,
    pub services: Vec<ServiceId>,
    pub sizes: Vec<InstanceSizeId>,
    pub users: Vec<UserId>,
    /// Keys of roles; of a role without a key its id.
    pub roles: Vec<String>,
    /// Users or roles.
    pub approvers: Vec<String>,
}

/// Those of the [`PolicyReferences`] that lead nowhere, as texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the fields of PolicyReferences")]
pub struct MissingReferences {
    pub systems: Vec<String>,
    pub services: Vec<String>,
    pub sizes: Vec<String>,
    pub users: Vec<String>,
    pub roles: Vec<String>,
    pub approvers: Vec<String>,
}

/// What a request is decided by, as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RuleInputs {
    /// The enabled policies about this kind of request in this environment.
    pub policies: Vec<Policy>,
    /// The role keys of the requester, as [`PolicyQueries::role_keys`] has them.
    pub roles: Vec<String>,
}

/// Who asks, where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requesting {
    /// What is asked for.
    pub operation: RequestType,
    /// Where.
    pub environment: Environment,
    /// Who asks; nobody has no roles.
    pub requester: Option<UserId>,
    /// The System it is about.
    pub system: Option<SystemId>,
}

/// Writes policies.
#[async_trait]
pub trait PolicyRepository: Send {
    /// Inserts a policy.
    async fn insert(&mut self, id: PolicyId, content: &PolicyContent, by: &ActorId) -> Result<(), RepositoryError>;
    /// Locks a policy.
    async fn hold(&mut self, id: PolicyId) -> Result<Option<PolicyRecord>, RepositoryError>;
    /// Replaces the content of a policy, at this version if one is given.
    async fn replace(
        &mut self,
        id: PolicyId,
        content: &PolicyContent,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// Deletes a policy; `false` when it is gone.
    async fn delete(&mut self, id: PolicyId) -> Result<bool, RepositoryError>;
}

/// Reads policies.
#[async_trait]
pub trait PolicyQueries: Send + Sync {
    /// One policy.
    async fn get_policy(&self, id: PolicyId) -> Result<Option<PolicyRecord>, RepositoryError>;
    /// The highest priority first, then by name.
    async fn list_policies(
        &self,
        operation: Option<PolicyOperation>,
        page: PageRequest,
    ) -> Result<Page<PolicyRecord>, RepositoryError>;
    /// What a request is decided by, in one statement.
    async fn rule_inputs(&self, requesting: Requesting, now: DateTime<Utc>) -> Result<RuleInputs, RepositoryError>;
    /// The keys of the enabled roles that a user holds in an environment, globally or on the given System; of a role
    /// without a key its id.
    async fn role_keys(
        &self,
        user: UserId,
        environment: Environment,
        system: Option<SystemId>,
        now: DateTime<Utc>,
    ) -> Result<Vec<String>, RepositoryError>;
    /// The System of a Service, whoever asks.
    async fn system_of(&self, service: ServiceId) -> Result<Option<SystemId>, RepositoryError>;
    /// Which references lead nowhere.
    async fn missing_references(&self, references: &PolicyReferences) -> Result<MissingReferences, RepositoryError>;
}
