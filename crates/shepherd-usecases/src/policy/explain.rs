//! Somebody asks what the policies would say to a request.

use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::{InstanceSizeId, ServiceId, TemplateId, UserId};
use shepherd_domain::policy::{Explanation, PolicyFacts};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::context::Caller;

use crate::{Platform, UseCaseError};

/// A request as far as it is described.
#[derive(Clone, Debug)]
pub struct ExplainRule {
    /// What is asked for.
    pub operation: RequestType,
    /// Where.
    pub environment: Environment,
    /// Who asks.
    pub requester: Option<UserId>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The Service; its System follows.
    pub service: Option<ServiceId>,
    /// The template; its name follows.
    pub template: Option<TemplateId>,
    /// The size. Its numbers are those of the request where no others are given.
    pub size: Option<InstanceSizeId>,
    /// Processors.
    pub cpu_cores: Option<i32>,
    /// Memory in MiB.
    pub memory_mb: Option<i32>,
    /// Disk in GiB.
    pub disk_gb: Option<i32>,
    /// Whether it is about many machines at once.
    pub batch: Option<bool>,
}

/// What the policies would say now, and why.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED with NOT_FOUND for what is not there.
pub async fn execute(platform: &Platform, caller: &Caller, command: ExplainRule) -> Result<Explanation, UseCaseError> {
    caller.require(Permission::ApprovalPolicy)?;
    let facts = facts(platform, command).await?;
    let (facts, policies) = super::inputs(platform, &facts).await?;
    let switch = platform.settings().allow_prod_auto_approval;
    Ok(shepherd_domain::policy::explain(&facts, &policies, switch))
}

async fn facts(platform: &Platform, command: ExplainRule) -> Result<PolicyFacts, UseCaseError> {
    let mut lost = Vec::new();
    let mut missing = |field: &str| lost.push(FieldError::new(field, FieldCode::NotFound));
    let system = match command.service {
        Some(id) => {
            let found = platform.read.system_of(id).await?;
            if found.is_none() {
                missing("service_id");
            }
            found
        }
        None => None,
    };
    let template_name = match command.template {
        Some(id) => {
            let found = platform.read.get_template(id).await?;
            if found.is_none() {
                missing("template_id");
            }
            found.map(|template| template.name)
        }
        None => None,
    };
    let size = match command.size {
        Some(id) => {
            let found = platform.read.get_size(id).await?;
            if found.is_none() {
                missing("instance_size_id");
            }
            found.map(|record| record.size)
        }
        None => None,
    };
    if let Some(id) = command.requester
        && platform.read.get_user(id).await?.is_none()
    {
        missing("requester_id");
    }
    if !lost.is_empty() {
        return Err(Problem::invalid(lost).into());
    }
    let size = size.as_ref();
    Ok(PolicyFacts {
        requester: command.requester,
        namespace: command.namespace,
        system,
        service: command.service,
        template_name,
        size: command.size,
        cpu_cores: command.cpu_cores.or(size.map(|size| size.cpu_cores)),
        memory_mb: command.memory_mb.or(size.map(|size| size.memory_mb)),
        disk_gb: command.disk_gb.or(size.map(|size| size.disk_gb)),
        special_hardware: size.map(shepherd_domain::catalog::InstanceSize::needs_special_hardware),
        batch: command.batch.unwrap_or(command.operation.is_batch()),
        ..PolicyFacts::new(command.operation, command.environment)
    })
}
