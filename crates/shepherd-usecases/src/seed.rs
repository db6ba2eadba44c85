//! `shepherd seed`: what every installation starts with. Idempotent; each step completes by itself on a second run.

use serde::Deserialize;
use serde_json::json;
use shepherd_domain::access::{BuiltInRole, Permission, Scope};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::SizeDraft;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::UserId;
use shepherd_domain::password;
use shepherd_ports::RequestContext;
use shepherd_ports::identity::{NewBinding, NewRole, NewUser};
use zeroize::Zeroizing;

use crate::template::document::TemplateDocument;
use crate::template::import;
use crate::{Platform, UseCaseError, instance_size};

/// The name of the first administrator.
pub const ADMIN: &str = "admin";

/// A built-in role as the seed file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the columns of domain.md §3.15")]
pub struct RoleSeed {
    pub key: String,
    pub name: String,
    #[serde(default)]
    pub display_name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    pub permissions: Vec<Permission>,
}

/// What the seed files hold.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Seeds {
    pub roles: Vec<RoleSeed>,
    pub templates: Vec<TemplateDocument>,
    pub sizes: Vec<SizeDraft>,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Names of roles that were created.
    pub roles: Vec<String>,
    /// Names of templates that were created.
    pub templates: Vec<String>,
    /// Names of sizes that were created.
    pub sizes: Vec<String>,
    /// Whether the administrator was created.
    pub admin: bool,
}

/// Creates what is absent.
///
/// # Errors
/// PASSWORD_POLICY_VIOLATION when the administrator's password does not satisfy the policy; otherwise when a seed is
/// invalid or the store fails.
pub async fn execute(
    platform: &Platform,
    seeds: Seeds,
    admin_password: Zeroizing<String>,
) -> Result<Seeded, UseCaseError> {
    let context = RequestContext::system("seed");
    let mut done = Seeded::default();
    for role in seeds.roles {
        if seed_role(platform, &context, &role).await? {
            done.roles.push(role.name);
        }
    }
    for template in seeds.templates {
        if import::seed(platform, &context, &template).await? {
            done.templates.push(template.name);
        }
    }
    for draft in seeds.sizes {
        let name = draft.name.clone();
        if instance_size::create::seed(platform, &context, draft).await? {
            done.sizes.push(name);
        }
    }
    done.admin = seed_admin(platform, &context, admin_password).await?;
    Ok(done)
}

/// Whether somebody holds `platform:admin` already, so that no administrator would be created.
///
/// # Errors
/// When the store fails.
pub async fn has_admin(platform: &Platform) -> Result<bool, UseCaseError> {
    let mut uow = platform.begin().await?;
    Ok(uow.identity().any_platform_admin().await?)
}

async fn seed_role(platform: &Platform, context: &RequestContext, role: &RoleSeed) -> Result<bool, UseCaseError> {
    let new = NewRole {
        id: platform.ids.id(),
        key: Some(role.key.clone()),
        name: role.name.clone(),
        display_name: role.display_name.clone(),
        description: role.description.clone(),
        permissions: role.permissions.clone(),
        built_in: true,
    };
    let mut uow = platform.begin().await?;
    if !uow.identity().ensure_role(&new).await? {
        return Ok(false);
    }
    let keys: Vec<&str> = new.permissions.iter().map(|permission| permission.as_str()).collect();
    let entry = AuditEntry::new(AuditAction::RoleCreate, "role", new.id)
        .named(&new.name)
        .details(json!({"permissions": keys, "enabled": true}));
    platform.audit(&mut *uow, context, platform.now(), [entry]).await?;
    uow.commit().await?;
    Ok(true)
}

async fn seed_admin(
    platform: &Platform,
    context: &RequestContext,
    admin_password: Zeroizing<String>,
) -> Result<bool, UseCaseError> {
    // A password that nobody gets need not please anybody: what once was a good one may have been taken away since.
    if has_admin(platform).await? {
        return Ok(false);
    }
    password::check(
        &platform.settings().password_policy,
        "SEED_ADMIN_PASSWORD",
        &admin_password,
        ADMIN,
    )?;
    let hash = platform.passwords.hash(admin_password).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if uow.identity().any_platform_admin().await? {
        return Ok(false);
    }
    let role = uow
        .identity()
        .find_role(BuiltInRole::PlatformAdmin.key())
        .await?
        .ok_or(UseCaseError::Broken("the role of administrators was not seeded"))?;
    let existing = uow.identity().find_user(ADMIN).await?;
    let user: UserId = existing.unwrap_or_else(|| platform.ids.id());
    if existing.is_none() {
        let admin = NewUser {
            id: user,
            username: ADMIN.to_owned(),
            email: None,
            display_name: Some("Administrator".to_owned()),
            password_hash: hash,
            force_password_change: true,
            enabled: true,
            created_by: context.actor.clone(),
        };
        uow.identity().insert_user(&admin).await?;
        let entry = AuditEntry::new(AuditAction::UserCreate, "user", user).named(ADMIN);
        platform.audit(&mut *uow, context, now, [entry]).await?;
    }
    let binding = NewBinding {
        id: platform.ids.id(),
        user_id: user,
        role_id: role.id,
        scope: Scope::Global,
        environments: EnvironmentSet::ALL,
        source: "seed",
        expires_at: None,
        created_by: context.actor.clone(),
    };
    uow.identity().insert_binding(&binding).await?;
    let entry = AuditEntry::new(AuditAction::RoleAssign, "role_binding", binding.id)
        .named(role.name)
        .parent("user", user);
    platform.audit(&mut *uow, context, now, [entry]).await?;
    uow.commit().await?;
    Ok(existing.is_none())
}
