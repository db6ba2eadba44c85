//! From the decision to the answer: the one function, and the codes of its refusals.

use shepherd_domain::access::{self, Denial, Permission, ResourceAction, Target};
use shepherd_domain::ids::SystemId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::context::Caller;

/// The object a decision is about, and the code that hides it.
#[derive(Clone, Copy)]
pub struct Guarded<'a> {
    /// Code of a missing object of this kind.
    pub not_found: ErrorCode,
    /// Its id, as the caller named it.
    pub id: &'a dyn std::fmt::Display,
    /// The permission that makes objects of this kind visible.
    pub read: Permission,
}

/// Asks whether the caller may do this to an object of a System.
///
/// # Errors
/// The very body of a missing object when the caller may not see it; FORBIDDEN otherwise.
pub fn require(
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    system: SystemId,
    object: Guarded<'_>,
) -> Result<(), Problem> {
    decide(
        caller,
        permission,
        object,
        Target {
            system: Some(system),
            environment: None,
            action: Some(action),
            own: false,
        },
    )
}

/// The same for a machine, which has an environment and an owner.
///
/// # Errors
/// As [`require`].
pub fn require_vm(
    caller: &Caller,
    permission: Permission,
    action: ResourceAction,
    system: SystemId,
    environment: Environment,
    owner: &ActorId,
    object: Guarded<'_>,
) -> Result<(), Problem> {
    let own = owner.as_user() == Some(caller.subject.user());
    decide(
        caller,
        permission,
        object,
        Target {
            system: Some(system),
            environment: Some(environment),
            action: Some(action),
            own,
        },
    )
}

/// The same for an object that has an environment but no System: namespaces, clusters, tickets.
///
/// # Errors
/// The very body of a missing object unless `read` is held in the environment; FORBIDDEN otherwise.
pub fn require_in(
    caller: &Caller,
    permission: Permission,
    environment: Environment,
    object: Guarded<'_>,
) -> Result<(), Problem> {
    if !caller.subject.holds(object.read, None, Some(environment))
        && !caller.subject.holds(permission, None, Some(environment))
    {
        return Err(Problem::not_found(object.not_found, object.id));
    }
    decide(
        caller,
        permission,
        object,
        Target {
            environment: Some(environment),
            ..Target::default()
        },
    )
}

fn decide(caller: &Caller, permission: Permission, object: Guarded<'_>, target: Target) -> Result<(), Problem> {
    access::authorize(&caller.subject, permission, object.read, target).map_err(|denial| match denial {
        Denial::Invisible => Problem::not_found(object.not_found, object.id),
        Denial::MissingPermission(permission, environment) => {
            let problem = Problem::new(ErrorCode::Forbidden).with("required_permission", permission.as_str());
            match environment {
                Some(environment) => problem.with("environment", environment.as_str()),
                None => problem,
            }
        }
        Denial::MissingRole(role) => Problem::new(ErrorCode::Forbidden).with("required_role", role.to_string()),
    })
}
