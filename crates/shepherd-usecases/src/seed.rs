//! `shepherd seed`: what every installation starts with. Idempotent; each step completes by itself on a second run.

use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::access::{BuiltInRole, Permission, Scope};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::{SizeDraft, TemplateSpec, TemplateStatus};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::UserId;
use shepherd_domain::password;
use shepherd_ports::RequestContext;
use shepherd_ports::catalog::NewTemplate;
use shepherd_ports::identity::{NewBinding, NewRole, NewUser};
use zeroize::Zeroizing;

use crate::catalog::create_template::content_hash;
use crate::{Platform, UseCaseError};

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

/// A template as the seed file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the export format of catalog.md §1")]
pub struct TemplateSeed {
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub display_name: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub category: Option<String>,
    #[serde(default)]
    pub os_family: Option<String>,
    #[serde(default)]
    pub os_version: Option<String>,
    pub spec: Value,
}

/// What the seed files hold.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Seeds {
    pub roles: Vec<RoleSeed>,
    pub templates: Vec<TemplateSeed>,
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
        if seed_role(platform, &role).await? {
            done.roles.push(role.name);
        }
    }
    for template in seeds.templates {
        if seed_template(platform, &context, &template).await? {
            done.templates.push(template.name);
        }
    }
    for draft in seeds.sizes {
        let name = draft.name.clone();
        if seed_size(platform, &context, draft).await? {
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

async fn seed_role(platform: &Platform, role: &RoleSeed) -> Result<bool, UseCaseError> {
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
    let created = uow.identity().ensure_role(&new).await?;
    uow.commit().await?;
    Ok(created)
}

async fn seed_template(
    platform: &Platform,
    context: &RequestContext,
    seed: &TemplateSeed,
) -> Result<bool, UseCaseError> {
    if seed.api_version != "shepherd/v1" || seed.kind != "Template" {
        return Err(UseCaseError::Broken("a template seed is not a shepherd/v1 Template"));
    }
    let spec = TemplateSpec::parse(&seed.spec)?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if uow.catalog().template_exists(&seed.name).await? {
        return Ok(false);
    }
    let template = NewTemplate {
        id: platform.ids.id(),
        name: seed.name.clone(),
        version: None,
        status: TemplateStatus::Active,
        display_name: seed.display_name.clone(),
        description: seed.description.clone(),
        category: seed.category.clone(),
        os_family: seed.os_family.clone(),
        os_version: seed.os_version.clone(),
        content_sha256: content_hash(platform, &spec)?,
        spec,
        seeded: true,
        created_by: context.actor.clone(),
        at: now,
    };
    uow.catalog().insert_template(&template).await?;
    let entry = AuditEntry::new(AuditAction::TemplateImport, "template", template.id).named(&template.name);
    platform.audit(&mut *uow, context, now, [entry]).await?;
    uow.commit().await?;
    Ok(true)
}

async fn seed_size(platform: &Platform, context: &RequestContext, draft: SizeDraft) -> Result<bool, UseCaseError> {
    let size = draft.into_size(platform.ids.id())?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if uow.catalog().size_exists(&size.name).await? {
        return Ok(false);
    }
    uow.catalog().insert_size(&size, &context.actor).await?;
    let entry = AuditEntry::new(AuditAction::InstanceSizeCreate, "instance_size", size.id).named(&size.name);
    platform.audit(&mut *uow, context, now, [entry]).await?;
    uow.commit().await?;
    Ok(true)
}

async fn seed_admin(
    platform: &Platform,
    context: &RequestContext,
    admin_password: Zeroizing<String>,
) -> Result<bool, UseCaseError> {
    password::check(
        &platform.settings.password_policy,
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
