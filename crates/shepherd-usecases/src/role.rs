//! Roles and who has them, where (access.md §3, §4 and §6).

pub mod bind;
pub mod ceiling;
pub mod create;
pub mod delete;
pub mod expire;
pub mod list;
pub mod unbind;
pub mod update;

use shepherd_domain::access::Permission;
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::roles::{BindingDetails, RoleDetails};

/// Most characters of a name.
const MAX_NAME: usize = 63;

fn not_found(id_or_key: &str) -> Problem {
    Problem::not_found(ErrorCode::RoleNotFound, id_or_key)
}

fn require_custom(role: &RoleDetails) -> Result<(), Problem> {
    if role.built_in {
        return Err(Problem::new(ErrorCode::BuiltinRoleImmutable).with("role", role.name.as_str()));
    }
    Ok(())
}

/// The permissions behind keys; each once, in the order of the catalogue.
fn parse_permissions(keys: &[String]) -> Result<Vec<Permission>, Problem> {
    if keys.is_empty() {
        return Err(Problem::invalid_field("permissions", FieldCode::Required));
    }
    let unknown: Vec<&str> = keys
        .iter()
        .filter(|key| key.parse::<Permission>().is_err())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(Problem::new(ErrorCode::UnknownPermission).with("permissions", unknown));
    }
    let mut permissions: Vec<Permission> = keys.iter().filter_map(|key| key.parse().ok()).collect();
    permissions.sort_unstable();
    permissions.dedup();
    Ok(permissions)
}

fn keys(permissions: &[Permission]) -> Vec<&'static str> {
    permissions.iter().map(|permission| permission.as_str()).collect()
}

fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() {
        return Err(Problem::invalid_field("name", FieldCode::Required));
    }
    if name.chars().count() > MAX_NAME {
        let error = FieldError::new("name", FieldCode::TooLong).with("max_length", MAX_NAME);
        return Err(Problem::invalid(vec![error]));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err(Problem::invalid_field("name", FieldCode::InvalidFormat));
    }
    Ok(())
}

/// The record of a binding that ended.
fn revoked(binding: &BindingDetails) -> AuditEntry {
    AuditEntry::new(AuditAction::RoleRevoke, "role_binding", binding.id)
        .named(&binding.role_name)
        .parent("user", binding.user_id)
}
