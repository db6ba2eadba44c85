//! Roles, their bindings, and the last administrator.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ActorId;
use shepherd_domain::access::{Permission, PermissionSet, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{RoleBindingId, RoleId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};

use crate::error::RepositoryError;
use crate::identity::NewRole;
use crate::systems::Changed;

/// A role as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct RoleDetails {
    pub id: RoleId,
    pub key: Option<String>,
    pub name: String,
    pub display_name: Option<String>,
    pub description: Option<String>,
    pub permissions: Vec<String>,
    pub built_in: bool,
    pub enabled: bool,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

impl RoleDetails {
    /// What the role permits; a key that this version does not know permits nothing.
    pub fn permission_set(&self) -> PermissionSet {
        set_of(&self.permissions)
    }
}

/// A change of a role; an outer `None` leaves a column, an inner one clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct RolePatch {
    pub display_name: Option<Option<String>>,
    pub description: Option<Option<String>>,
    pub permissions: Option<Vec<Permission>>,
    pub enabled: Option<bool>,
}

/// A binding with its user and role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct BindingDetails {
    pub id: RoleBindingId,
    pub user_id: UserId,
    pub username: String,
    pub role_id: RoleId,
    pub role_key: Option<String>,
    pub role_name: String,
    pub permissions: Vec<String>,
    pub scope_id: Option<SystemId>,
    pub allowed_environments: EnvironmentSet,
    pub source: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub created_by: ActorId,
    pub row_version: i64,
    pub created_at: DateTime<Utc>,
}

impl BindingDetails {
    /// What the role of the binding permits.
    pub fn permission_set(&self) -> PermissionSet {
        set_of(&self.permissions)
    }

    /// Where it applies.
    pub fn scope(&self) -> Scope {
        self.scope_id.map_or(Scope::Global, Scope::System)
    }
}

fn set_of(keys: &[String]) -> PermissionSet {
    keys.iter().filter_map(|key| key.parse::<Permission>().ok()).collect()
}

/// Which bindings a list shows; all given conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct BindingFilter {
    /// Of one user.
    pub user: Option<UserId>,
    /// Of one role.
    pub role: Option<RoleId>,
    /// On one System.
    pub scope: Option<SystemId>,
    /// Only bindings on these Systems; `None` shows all.
    pub visible: Option<Vec<SystemId>>,
}

/// Writes roles and bindings.
///
/// Locks are taken in this order: administrators, role, user, Systems.
#[async_trait]
pub trait RoleRepository: Send {
    /// Serialises everything that could take away the last administrator, until the transaction ends.
    async fn lock_administrators(&mut self) -> Result<(), RepositoryError>;
    /// Whether, after what this transaction changed, an enabled user who can log in holds `platform:admin` through an
    /// enabled role and a global binding without end that no identity provider made.
    async fn administrator_remains(&mut self) -> Result<bool, RepositoryError>;
    /// Locks a role against changes by others; by id or key.
    async fn lock_role(&mut self, id_or_key: &str) -> Result<Option<RoleDetails>, RepositoryError>;
    /// Keeps a role as it is until the transaction ends; by id or key.
    async fn hold_role(&mut self, id_or_key: &str) -> Result<Option<RoleDetails>, RepositoryError>;
    /// Inserts a role.
    async fn insert_role(&mut self, role: &NewRole, enabled: bool) -> Result<(), RepositoryError>;
    /// Changes a role, if it has the wanted version (when one is given).
    async fn update_role(
        &mut self,
        id: RoleId,
        patch: &RolePatch,
        version: Option<i64>,
    ) -> Result<Changed, RepositoryError>;
    /// How many bindings, expired ones included, identity providers, policies and pending tickets refer to the role.
    async fn role_references(&mut self, id: RoleId) -> Result<i64, RepositoryError>;
    /// Whether a binding of the role is limited to a System or to one environment.
    async fn has_narrow_bindings(&mut self, id: RoleId) -> Result<bool, RepositoryError>;
    /// Deletes a role.
    async fn delete_role(&mut self, id: RoleId) -> Result<bool, RepositoryError>;
    /// Keeps a System from being deleted until the transaction ends; `false` when it is gone.
    async fn hold_system(&mut self, id: SystemId) -> Result<bool, RepositoryError>;
    /// Removes the expired binding in whose place an equal one is to come, and answers it.
    async fn remove_expired_equal(
        &mut self,
        user: UserId,
        role: RoleId,
        scope: Scope,
        source: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<BindingDetails>, RepositoryError>;
    /// Locks a binding of a user.
    async fn lock_binding(
        &mut self,
        user: UserId,
        id: RoleBindingId,
    ) -> Result<Option<BindingDetails>, RepositoryError>;
    /// Removes a binding; `false` when it is gone.
    async fn remove_binding(&mut self, id: RoleBindingId) -> Result<bool, RepositoryError>;
    /// Removes up to `limit` bindings that have expired, those of the Bootstrap role excepted.
    async fn remove_expired(&mut self, now: DateTime<Utc>, limit: u32) -> Result<Vec<BindingDetails>, RepositoryError>;
    /// Gives the Bootstrap role to a user until then; a binding that exists gets the new end.
    async fn grant_bootstrap(
        &mut self,
        id: RoleBindingId,
        user: UserId,
        until: DateTime<Utc>,
        by: &ActorId,
    ) -> Result<(), RepositoryError>;
    /// Removes Bootstrap bindings: all of one user, or all that ended before a time.
    async fn end_bootstrap(
        &mut self,
        user: Option<UserId>,
        ended_before: Option<DateTime<Utc>>,
    ) -> Result<Vec<BindingDetails>, RepositoryError>;
}

/// Reads roles and bindings.
#[async_trait]
pub trait RoleQueries: Send + Sync {
    /// A role by id or key.
    async fn get_role(&self, id_or_key: &str) -> Result<Option<RoleDetails>, RepositoryError>;
    /// All roles, built-in ones first, then by name; at most 1000.
    async fn list_roles(&self) -> Result<Vec<RoleDetails>, RepositoryError>;
    /// Bindings, expired ones included until they are removed, the newest first.
    async fn list_bindings(
        &self,
        filter: &BindingFilter,
        page: PageRequest,
    ) -> Result<Page<BindingDetails>, RepositoryError>;
    /// The binding of a user that stands in the way of an equal one.
    async fn equal_binding(
        &self,
        user: UserId,
        role: RoleId,
        scope: Scope,
        source: &str,
    ) -> Result<Option<RoleBindingId>, RepositoryError>;
    /// As [`RoleRepository::administrator_remains`], of what is committed.
    async fn has_administrator(&self) -> Result<bool, RepositoryError>;
}
