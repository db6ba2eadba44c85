//! What an operator should know about who administers the platform (access.md §7). Reads only.

mod queue;

use chrono::TimeDelta;
use serde::Serialize;
use serde_json::{Value, json};
use shepherd_domain::access::{BuiltInRole, Permission};
use shepherd_domain::page::PageRequest;
use shepherd_ports::roles::{BindingFilter, RoleDetails};

use crate::{Platform, UseCaseError};

pub use queue::look_at_queue;

/// After this long a platform administrator should be looked at again.
const REVIEW_DAYS: i64 = 90;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Stable name of the check.
    pub check: &'static str,
    /// What was found, in a sentence.
    pub message: String,
    /// Values.
    pub details: Value,
}

impl Finding {
    /// A finding of a check.
    pub fn new(check: &'static str, message: String, details: Value) -> Self {
        Self {
            check,
            message,
            details,
        }
    }
}

/// Looks at roles and their holders.
///
/// # Errors
/// When the store fails.
pub async fn execute(platform: &Platform) -> Result<Vec<Finding>, UseCaseError> {
    let roles = platform.read.list_roles().await?;
    let mut findings: Vec<Finding> = roles.iter().flat_map(of_role).collect();
    findings.extend(bootstrap_bindings(platform, &roles).await?);
    if !platform.read.has_administrator().await? {
        findings.push(Finding::new(
            "no_platform_admin",
            "no enabled user holds platform:admin for good; use `shepherd break-glass` and bind PlatformAdmin to somebody"
                .to_owned(),
            json!({}),
        ));
    }
    let now = platform.now();
    let review = platform
        .read
        .review_administrators(now - TimeDelta::days(REVIEW_DAYS), now)
        .await?;
    if review.unreviewed > 0 {
        findings.push(Finding::new(
            "administrators_not_reviewed",
            format!(
                "{} of {} platform administrators have no binding that was granted or changed within {REVIEW_DAYS} days",
                review.unreviewed, review.administrators
            ),
            json!({"unreviewed": review.unreviewed, "administrators": review.administrators}),
        ));
    }
    Ok(findings)
}

fn of_role(role: &RoleDetails) -> Vec<Finding> {
    let mut findings = Vec::new();
    let unknown: Vec<&String> = role
        .permissions
        .iter()
        .filter(|key| key.parse::<Permission>().is_err())
        .collect();
    if !unknown.is_empty() {
        findings.push(Finding::new(
            "unknown_permissions",
            format!(
                "role {} names permissions that do not exist; they grant nothing",
                role.name
            ),
            json!({"role": role.name, "permissions": unknown}),
        ));
    }
    if role.key.as_deref() == Some(BuiltInRole::PlatformAdmin.key()) && role.permissions.len() != 1 {
        findings.push(Finding::new(
            "platform_admin_keys",
            format!("role {} has {} keys instead of one", role.name, role.permissions.len()),
            json!({"role": role.name, "permissions": role.permissions}),
        ));
    }
    findings
}

async fn bootstrap_bindings(platform: &Platform, roles: &[RoleDetails]) -> Result<Vec<Finding>, UseCaseError> {
    let bootstrap = roles
        .iter()
        .find(|role| role.key.as_deref() == Some(BuiltInRole::Bootstrap.key()));
    let Some(role) = bootstrap else {
        return Ok(vec![Finding::new(
            "not_seeded",
            "the built-in roles are missing; run `shepherd seed`".to_owned(),
            json!({}),
        )]);
    };
    let filter = BindingFilter {
        role: Some(role.id),
        ..BindingFilter::default()
    };
    let Some(page) = PageRequest::new(1, PageRequest::MAX_PER_PAGE) else {
        return Ok(Vec::new());
    };
    let found = platform.read.list_bindings(&filter, page).await?;
    let findings = found.items.into_iter().map(|binding| {
        let until = binding.expires_at.map_or_else(
            || "for ever".to_owned(),
            |end| format!("until {}", end.format("%Y-%m-%d %H:%M UTC")),
        );
        Finding::new(
            "bootstrap_binding",
            format!("{} holds the Bootstrap role {until}", binding.username),
            json!({"username": binding.username, "expires_at": binding.expires_at}),
        )
    });
    Ok(findings.collect())
}
