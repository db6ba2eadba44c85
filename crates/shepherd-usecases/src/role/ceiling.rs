//! The grant ceiling: nobody gives, takes or acts upon more than they hold (access.md §6), nor gives it for longer.

use serde_json::json;
use shepherd_domain::access::{Permission, PermissionSet, ResourceRole, Scope, Subject, Term};
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
    let missing: Vec<&'static str> = permissions
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
    Err(exceeded(missing, scope).with("environments", json!(environments)))
}

/// As [`check`], for a grant of some duration: each permission must also be held for as long. What ends by itself would
/// not end otherwise: its holder would give it to another account, or to the own one, without an end.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED{missing_permissions, scope, environments, latest_expires_at}.
pub fn check_for(
    grantor: &Subject,
    permissions: PermissionSet,
    scope: Scope,
    environments: EnvironmentSet,
    wanted: Term,
) -> Result<(), Problem> {
    check(grantor, permissions, scope, environments)?;
    let system = match scope {
        Scope::Global => None,
        Scope::System(system) => Some(system),
    };
    let held = |permission: Permission| {
        let terms = environments
            .iter()
            .filter_map(|environment| grantor.term(permission, system, environment));
        terms.min().unwrap_or(Term::Open)
    };
    let outlived: Vec<Permission> = permissions
        .iter()
        .filter(|permission| held(*permission) < wanted)
        .collect();
    let Some(latest) = outlived.iter().map(|permission| held(*permission)).min() else {
        return Ok(());
    };
    let missing = outlived.into_iter().map(Permission::as_str).collect();
    Err(exceeded(missing, scope)
        .with("environments", json!(environments))
        .with("latest_expires_at", json!(latest.end())))
}

/// A role on a System is not given for longer than the grantor has it, or a stronger one.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED{required_role, scope, latest_expires_at}.
pub fn check_role_on(grantor: &Subject, system: SystemId, role: ResourceRole, wanted: Term) -> Result<(), Problem> {
    let held = grantor.role_term(system, role);
    if held >= Some(wanted) {
        return Ok(());
    }
    Err(exceeded(Vec::new(), Scope::System(system))
        .with("required_role", role.to_string())
        .with("latest_expires_at", json!(held.and_then(Term::end))))
}

fn exceeded(missing: Vec<&'static str>, scope: Scope) -> Problem {
    let scope = match scope {
        Scope::Global => "global",
        Scope::System(_) => "system",
    };
    Problem::new(ErrorCode::GrantCeilingExceeded)
        .with("missing_permissions", missing)
        .with("scope", scope)
}

/// A role bound on a System makes its holder a member of it, so nobody binds one where they are less themselves, or for
/// longer than they are.
///
/// # Errors
/// SYSTEM_NOT_FOUND for a System the grantor has no role on, GRANT_CEILING_EXCEEDED{required_role} with a lesser one.
pub fn check_membership(
    grantor: &Subject,
    permissions: PermissionSet,
    system: SystemId,
    wanted: Term,
) -> Result<(), Problem> {
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
        Some(_) => check_role_on(grantor, system, implied, wanted),
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

/// What a role comes to permit, its holders have for as long as their bindings last, its author perhaps among them. So
/// the author must hold it without an end.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED.
pub fn check_more_of_role(author: &Subject, added: PermissionSet) -> Result<(), Problem> {
    check_for(author, added, Scope::Global, EnvironmentSet::ALL, Term::Open)
}

/// A password gives what its account holds to whoever sets it, so nobody sets one of an account whose rights outlast the
/// own ones.
///
/// # Errors
/// GRANT_CEILING_EXCEEDED; Systems are not named, since the caller may not see them.
pub fn check_password_of(caller: &Caller, holder: &Subject) -> Result<(), Problem> {
    for grant in holder.grants() {
        check_for(
            &caller.subject,
            grant.permissions,
            grant.scope,
            grant.environments,
            grant.term,
        )?;
    }
    for (system, role) in holder.roles_on_systems() {
        let term = holder.role_term(system, role).unwrap_or(Term::Open);
        check_role_on(&caller.subject, system, role, term)?;
    }
    Ok(())
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

    use chrono::{DateTime, TimeDelta};
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
            term: Term::Open,
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
    fn what_is_held_for_a_time_is_given_for_as_long_at_most() {
        let day = |number| Term::Until(DateTime::UNIX_EPOCH + TimeDelta::days(number));
        let grant = |environments, term| Grant {
            scope: Scope::Global,
            environments,
            permissions: [Permission::VmOperate].into_iter().collect(),
            term,
        };
        // In test the longer one counts, in prod there is one only.
        let grants = vec![grant(EnvironmentSet::ALL, day(1)), grant(EnvironmentSet::TEST, day(2))];
        let grantor = Subject::new(UserId::from_bits(3), grants, [(SHOP, ResourceRole::Admin)]);
        let grantor = grantor.with_terms([(SHOP, day(3))]);
        let operates: PermissionSet = [Permission::VmOperate].into_iter().collect();
        for (environments, wanted, given) in [
            (EnvironmentSet::TEST, day(2), true),
            (EnvironmentSet::TEST, day(3), false),
            (EnvironmentSet::ALL, day(1), true),
            (EnvironmentSet::ALL, day(2), false),
            (EnvironmentSet::ALL, Term::Open, false),
        ] {
            let outcome = check_for(&grantor, operates, Scope::Global, environments, wanted);
            assert_eq!(outcome.is_ok(), given, "{environments:?} {wanted:?}");
        }
        for (role, wanted, given) in [
            (ResourceRole::Viewer, day(3), true),
            (ResourceRole::Admin, day(3), true),
            (ResourceRole::Viewer, day(4), false),
            (ResourceRole::Viewer, Term::Open, false),
            (ResourceRole::Owner, day(1), false),
        ] {
            let outcome = check_role_on(&grantor, SHOP, role, wanted);
            assert_eq!(outcome.is_ok(), given, "{role} {wanted:?}");
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
