//! The grant ceiling: nobody gives, takes or acts upon more than they hold (access.md §6).

use serde_json::json;
use shepherd_domain::access::{Permission, PermissionSet, ResourceRole, Scope, Subject};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::SystemId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;

/// Every permission of the grant must be held by the grantor with a scope and environments that cover those of the
/// grant.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED{missing_permissions, scope, environments}.
pub fn check(
    grantor: &Subject,
    permissions: PermissionSet,
    scope: Scope,
    environments: EnvironmentSet,
) -> Result<(), Problem> {
    let system = match scope {
        Scope::Global => None,
        Scope::System(system) => Some(system),
    };
    let missing: Vec<&str> = permissions
        .iter()
        .filter(|permission| {
            !environments
                .iter()
                .all(|environment| grantor.holds(*permission, system, Some(environment)))
        })
        .map(Permission::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::GrantCeilingExceeded)
        .with("missing_permissions", missing)
        .with("scope", if system.is_some() { "system" } else { "global" })
        .with("environments", json!(environments)))
}

/// A role bound on a System makes its holder a member of it, so nobody binds one where they are less themselves.
///
/// # Errors
/// SYSTEM_NOT_FOUND for a System the grantor has no role on, GRANT_CEILING_EXCEEDED{required_role} with a lesser one.
pub fn check_membership(grantor: &Subject, permissions: PermissionSet, system: SystemId) -> Result<(), Problem> {
    let implied = if permissions.is_read_only() {
        ResourceRole::Viewer
    } else {
        ResourceRole::Member
    };
    match grantor.role_on(system) {
        None => Err(Problem::not_found(ErrorCode::SystemNotFound, system)),
        Some(held) if held < implied => Err(Problem::new(ErrorCode::GrantCeilingExceeded)
            .with("missing_permissions", Vec::<String>::new())
            .with("required_role", implied.to_string())
            .with("scope", "system")),
        Some(_) => Ok(()),
    }
}

/// Bindings are managed where and in what environments the right to manage them is held: who has it on one System does
/// not give away there or elsewhere what some other binding gives elsewhere.
///
/// # Errors
/// FORBIDDEN{required_permission}.
pub fn require_manager(caller: &Caller, scope: Scope, environments: EnvironmentSet) -> Result<(), Problem> {
    let system = match scope {
        Scope::Global => None,
        Scope::System(system) => Some(system),
    };
    let managed = caller.subject.environments(Permission::RbacManage, system);
    if managed.covers(environments) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden).with("required_permission", Permission::RbacManage.as_str()))
}

/// What a role permits can be bound anywhere, so whoever writes it must hold it everywhere.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED.
pub fn check_role(author: &Subject, permissions: PermissionSet) -> Result<(), Problem> {
    check(author, permissions, Scope::Global, EnvironmentSet::ALL)
}

/// Whoever acts on an account must hold at least everything its holder holds: the role bindings, and the roles on
/// Systems, since a new password gives those as well.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED; Systems are not named, since the caller may not see them.
pub fn check_account(caller: &Caller, holder: &Subject) -> Result<(), Problem> {
    if caller.subject.user() == holder.user() {
        return Ok(());
    }
    for grant in holder.grants() {
        check(&caller.subject, grant.permissions, grant.scope, grant.environments)?;
    }
    let beyond = holder
        .roles_on_systems()
        .filter(|(system, role)| caller.subject.role_on(*system).is_none_or(|held| held < *role))
        .map(|(_, role)| role)
        .max();
    match beyond {
        None => Ok(()),
        Some(role) => Err(Problem::new(ErrorCode::GrantCeilingExceeded)
            .with("missing_permissions", Vec::<String>::new())
            .with("required_role", role.to_string())
            .with("scope", "system")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shepherd_domain::access::Grant;
    use shepherd_domain::ids::{SessionId, SystemId, UserId};
    use shepherd_ports::RequestContext;

    use super::*;

    const SHOP: SystemId = SystemId::from_bits(1);
    const LAB: SystemId = SystemId::from_bits(2);

    /// Operates everything, and manages the bindings of one System in test.
    fn caller() -> Caller {
        let user = UserId::from_bits(3);
        let grant = |scope, environments, permissions: &[Permission]| Grant {
            scope,
            environments,
            permissions: permissions.iter().copied().collect(),
        };
        let grants = vec![
            grant(Scope::Global, EnvironmentSet::ALL, &[Permission::VmOperate]),
            grant(Scope::System(SHOP), EnvironmentSet::TEST, &[Permission::RbacManage]),
        ];
        Caller {
            subject: Arc::new(Subject::new(user, grants, [])),
            session: SessionId::from_bits(4),
            username: "sam".to_owned(),
            force_password_change: false,
            context: RequestContext::system("test"),
        }
    }

    #[test]
    fn what_is_held_everywhere_is_given_only_where_bindings_are_managed() {
        let caller = caller();
        let operates: PermissionSet = [Permission::VmOperate].into_iter().collect();
        for (scope, environments, managed) in [
            (Scope::System(SHOP), EnvironmentSet::TEST, true),
            (Scope::System(SHOP), EnvironmentSet::ALL, false),
            (Scope::System(LAB), EnvironmentSet::TEST, false),
            (Scope::Global, EnvironmentSet::TEST, false),
        ] {
            let within = check(&caller.subject, operates, scope, environments);
            assert_eq!(within, Ok(()), "{scope:?} {environments:?}");
            let refused = require_manager(&caller, scope, environments).map_err(|problem| problem.code);
            let expected = if managed { Ok(()) } else { Err(ErrorCode::Forbidden) };
            assert_eq!(refused, expected, "{scope:?} {environments:?}");
        }
    }
}
