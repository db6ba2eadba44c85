//! Who may do what: the two layers, and the one function that decides.
//!
//! The role layer asks whether this person may do this kind of thing here; the resource layer asks whether the
//! person can see and touch this object. Both must allow.

mod permission;
mod role;
mod term;

pub use permission::{Permission, PermissionSet};
pub use role::{BuiltInRole, ResourceAction, ResourceRole};
pub use term::Term;

use std::collections::BTreeMap;

use crate::environment::{Environment, EnvironmentSet};
use crate::ids::{SystemId, UserId};

/// Where a role binding applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On one System.
    System(SystemId),
}

/// An unexpired binding of an enabled role, with the permissions that it gives directly or by implication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Where it applies.
    pub scope: Scope,
    /// In which environments.
    pub environments: EnvironmentSet,
    /// What it permits.
    pub permissions: PermissionSet,
    /// For how long its holder may hand it on; as a rule for as long as it lasts.
    pub term: Term,
}

impl Grant {
    /// Whether it holds the permission, covers the System and covers the environment.
    fn covers(&self, permission: Permission, system: Option<SystemId>, environment: Option<Environment>) -> bool {
        self.permissions.contains(permission)
            && match self.scope {
                Scope::Global => true,
                Scope::System(scope) => system == Some(scope),
            }
            && environment.is_none_or(|environment| self.environments.contains(environment))
    }

    /// Whether it makes its holder a platform administrator.
    fn administers(&self) -> bool {
        // Such a binding is stored with both environments. One that is not must not reach past its own.
        self.scope == Scope::Global
            && self.environments == EnvironmentSet::ALL
            && self.permissions.contains(Permission::PlatformAdmin)
    }

    /// The role on its System that it implies.
    fn implied_role(&self) -> Option<(SystemId, ResourceRole)> {
        match self.scope {
            Scope::Global => None,
            Scope::System(system) if self.permissions.is_read_only() => Some((system, ResourceRole::Viewer)),
            Scope::System(system) => Some((system, ResourceRole::Member)),
        }
    }
}

/// Everything the decision needs to know about a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    user: UserId,
    grants: Vec<Grant>,
    roles_on: BTreeMap<SystemId, ResourceRole>,
    memberships: BTreeMap<SystemId, (ResourceRole, Term)>,
    platform_admin: bool,
}

/// What a decision is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The System of the object, when it has one.
    pub system: Option<SystemId>,
    /// The environment of the object, when it has one.
    pub environment: Option<Environment>,
    /// What is to be done to the object; `None` for objects without a resource layer.
    pub action: Option<ResourceAction>,
    /// Whether the caller owns the object (a machine's `created_by`).
    pub own: bool,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The object does not exist for this caller.
    Invisible,
    /// No binding holds the permission here.
    MissingPermission(Permission, Option<Environment>),
    /// The role on the System does not allow the action; this is the least one that would.
    MissingRole(ResourceRole),
}

impl Subject {
    /// A caller with these unexpired grants and memberships.
    ///
    /// A System-scoped grant counts as `member` on its System when it holds any key other than `*:read`, else as
    /// `viewer`; a stronger membership stays.
    pub fn new(
        user: UserId,
        grants: Vec<Grant>,
        memberships: impl IntoIterator<Item = (SystemId, ResourceRole)>,
    ) -> Self {
        let mut roles_on: BTreeMap<SystemId, ResourceRole> = BTreeMap::new();
        let memberships: Vec<(SystemId, ResourceRole)> = memberships.into_iter().collect();
        let implied = grants.iter().filter_map(Grant::implied_role);
        for (system, role) in memberships.iter().copied().chain(implied) {
            let held = roles_on.entry(system).or_insert(role);
            *held = (*held).max(role);
        }
        let platform_admin = grants.iter().any(Grant::administers);
        Self {
            user,
            grants,
            roles_on,
            memberships: memberships
                .into_iter()
                .map(|(system, role)| (system, (role, Term::Open)))
                .collect(),
            platform_admin,
        }
    }

    /// The same, whose memberships of these Systems end by themselves.
    #[must_use]
    pub fn with_terms(mut self, ends: impl IntoIterator<Item = (SystemId, Term)>) -> Self {
        for (system, end) in ends {
            if let Some((_, term)) = self.memberships.get_mut(&system) {
                *term = end;
            }
        }
        self
    }

    /// Who it is.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Whether the caller holds `platform:admin`.
    pub fn is_platform_admin(&self) -> bool {
        self.platform_admin
    }

    /// The grants, for `GET /me/permissions` and the grant ceiling.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The role on a System, a platform administrator being an owner of all.
    pub fn role_on(&self, system: SystemId) -> Option<ResourceRole> {
        if self.platform_admin {
            Some(ResourceRole::Owner)
        } else {
            self.roles_on.get(&system).copied()
        }
    }

    /// The roles on Systems, by membership or implied by a grant.
    pub fn roles_on_systems(&self) -> impl Iterator<Item = (SystemId, ResourceRole)> {
        self.roles_on.iter().map(|(system, role)| (*system, *role))
    }

    /// Whether any grant holds the permission anywhere: the first question every operation asks, before it looks
    /// at its body or its object.
    pub fn holds_anywhere(&self, permission: Permission) -> bool {
        self.grants.iter().any(|grant| grant.permissions.contains(permission))
    }

    /// The role layer: one grant that holds the permission, covers the System and covers the environment, all
    /// three on the same grant.
    pub fn holds(&self, permission: Permission, system: Option<SystemId>, environment: Option<Environment>) -> bool {
        self.grants
            .iter()
            .any(|grant| grant.covers(permission, system, environment))
    }

    /// For how long a permission may be handed on, given that it [`holds`](Self::holds).
    pub fn term(&self, permission: Permission, system: Option<SystemId>, environment: Environment) -> Option<Term> {
        self.grants
            .iter()
            .filter(|grant| grant.covers(permission, system, Some(environment)))
            .map(|grant| grant.term)
            .max()
    }

    /// For how long a role on a System, or a stronger one, may be handed on; nothing when there is no such role.
    pub fn role_term(&self, system: SystemId, role: ResourceRole) -> Option<Term> {
        let granted = self.grants.iter().filter(|grant| {
            let implied = grant
                .implied_role()
                .is_some_and(|(on, held)| on == system && held >= role);
            implied || grant.administers()
        });
        let membership = self.memberships.get(&system).filter(|(held, _)| *held >= role);
        let terms = granted.map(|grant| grant.term);
        terms.chain(membership.map(|(_, term)| *term)).max()
    }

    /// The environments in which a permission is held globally or on the given System.
    pub fn environments(&self, permission: Permission, system: Option<SystemId>) -> EnvironmentSet {
        Environment::ALL
            .into_iter()
            .filter(|environment| self.holds(permission, system, Some(*environment)))
            .collect()
    }

    /// The union of the environments of all grants, for the caller's own information.
    pub fn all_environments(&self) -> EnvironmentSet {
        self.grants
            .iter()
            .fold(EnvironmentSet::EMPTY, |all, grant| all.union(grant.environments))
    }

    /// All permissions held somewhere.
    pub fn all_permissions(&self) -> PermissionSet {
        self.grants
            .iter()
            .fold(PermissionSet::EMPTY, |all, grant| all.union(grant.permissions))
    }

    /// Whether the caller manages the members of any System: the question of those who look for users to add.
    pub fn manages_members(&self) -> bool {
        self.platform_admin
            || self.roles_on.iter().any(|(system, role)| {
                role.allows(ResourceAction::Members, false) && self.holds(Permission::SystemRead, Some(*system), None)
            })
    }

    /// Which objects of Systems a list shows: the same rules as [`authorize`] with `view`, as a filter.
    pub fn visibility(&self, read: Permission) -> Visibility {
        if self.platform_admin {
            return Visibility::Everything;
        }
        let mut limited = LimitedVisibility::default();
        for system in self.roles_on.keys().copied() {
            if self.holds(read, Some(system), None) {
                limited.systems.push(system);
            }
            if self.holds(read, Some(system), Some(Environment::Test)) {
                limited.test.push(system);
            }
            if self.holds(read, Some(system), Some(Environment::Prod)) {
                limited.prod.push(system);
            }
        }
        Visibility::Limited(limited)
    }
}

/// The filter of a list of objects that belong to Systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// A platform administrator sees all.
    Everything,
    /// Only these.
    Limited(LimitedVisibility),
}

/// Systems whose objects are visible: those without environment, and those of each environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitedVisibility {
    /// Systems whose objects without environment (the System, its Services) are visible.
    pub systems: Vec<SystemId>,
    /// Systems whose test objects are visible.
    pub test: Vec<SystemId>,
    /// Systems whose prod objects are visible.
    pub prod: Vec<SystemId>,
}

impl Visibility {
    /// Whether the filter shows an object, exactly as the SQL does.
    pub fn shows(&self, system: SystemId, environment: Option<Environment>) -> bool {
        match self {
            Self::Everything => true,
            Self::Limited(limited) => match environment {
                None => limited.systems.contains(&system),
                Some(Environment::Test) => limited.test.contains(&system),
                Some(Environment::Prod) => limited.prod.contains(&system),
            },
        }
    }
}

/// Decides everything: may this caller do this to this target.
///
/// `read` is the permission that makes objects of this kind visible. An object of a System is visible to those
/// who have any role on the System and hold `read` or the wanted permission in the object's environment; for
/// everybody else it does not exist.
///
/// # Errors
/// [`Denial::Invisible`] answers 404, the others 403.
pub fn authorize(subject: &Subject, permission: Permission, read: Permission, target: Target) -> Result<(), Denial> {
    let held = subject.holds(permission, target.system, target.environment);
    let Some((system, action)) = target.system.zip(target.action) else {
        return if held {
            Ok(())
        } else {
            Err(Denial::MissingPermission(permission, target.environment))
        };
    };
    let Some(role) = subject.role_on(system) else {
        return Err(Denial::Invisible);
    };
    if !held && !subject.holds(read, target.system, target.environment) {
        return Err(Denial::Invisible);
    }
    if !held {
        return Err(Denial::MissingPermission(permission, target.environment));
    }
    if role.allows(action, target.own) {
        Ok(())
    } else {
        Err(Denial::MissingRole(action.least_role()))
    }
}
