//! Who reads roles and bindings sees those within the scope of that right.

use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::roles::{BindingDetails, BindingFilter, RoleDetails};

use crate::{Platform, UseCaseError};

/// One role, by id or key.
///
/// # Errors
/// FORBIDDEN, ROLE_NOT_FOUND.
pub async fn role(platform: &Platform, caller: &Caller, id_or_key: &str) -> Result<RoleDetails, UseCaseError> {
    caller.require(Permission::RbacRead)?;
    let role = platform.read.get_role(id_or_key).await?;
    role.ok_or_else(|| super::not_found(id_or_key).into())
}

/// Bindings. Who holds `rbac:read` on Systems only sees the bindings on those.
///
/// # Errors
/// FORBIDDEN.
pub async fn bindings(
    platform: &Platform,
    caller: &Caller,
    filter: BindingFilter,
    page: PageRequest,
) -> Result<Page<BindingDetails>, UseCaseError> {
    caller.require(Permission::RbacRead)?;
    let filter = BindingFilter {
        visible: visible_systems(caller),
        ..filter
    };
    Ok(platform.read.list_bindings(&filter, page).await?)
}

/// The bindings of one user.
///
/// # Errors
/// FORBIDDEN, USER_NOT_FOUND.
pub async fn bindings_of(
    platform: &Platform,
    caller: &Caller,
    user: UserId,
    page: PageRequest,
) -> Result<Page<BindingDetails>, UseCaseError> {
    caller.require(Permission::RbacRead)?;
    if platform.read.get_user(user).await?.is_none() {
        return Err(Problem::not_found(ErrorCode::UserNotFound, user).into());
    }
    let filter = BindingFilter {
        user: Some(user),
        ..BindingFilter::default()
    };
    bindings(platform, caller, filter, page).await
}

/// `None` for those who may see everything.
fn visible_systems(caller: &Caller) -> Option<Vec<SystemId>> {
    if caller.subject.holds(Permission::RbacRead, None, None) {
        return None;
    }
    let systems = caller.subject.grants().iter().filter_map(|grant| match grant.scope {
        Scope::System(system) if grant.permissions.contains(Permission::RbacRead) => Some(system),
        Scope::System(_) | Scope::Global => None,
    });
    Some(systems.collect())
}
