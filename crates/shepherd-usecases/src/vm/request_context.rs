//! What a requester can choose from: only what this caller could really ask for.

use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::SystemId;
use shepherd_domain::page::PageRequest;
use shepherd_ports::context::Caller;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::templates::{TemplateFilter, TemplateRecord};
use shepherd_ports::workbench::RequestPlaces;

use crate::{Platform, UseCaseError};

/// What a request may name.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Active versions by name, at most 1000.
    pub templates: Vec<TemplateRecord>,
    /// Enabled sizes by sort order and name, at most 1000.
    pub sizes: Vec<SizeRecord>,
    /// Namespaces and Services.
    pub places: RequestPlaces,
}

/// Reads the choices. A namespace is offered when the caller may create machines in its environment somewhere; whether
/// a Service and a namespace go together is checked at submission.
///
/// # Errors
/// FORBIDDEN.
pub async fn execute(platform: &Platform, caller: &Caller) -> Result<RequestContext, UseCaseError> {
    caller.require(Permission::VmCreate)?;
    let active = TemplateFilter {
        status: Some(TemplateStatus::Active),
        ..TemplateFilter::default()
    };
    let templates = platform.read.list_templates(&active, PageRequest::all()).await?.items;
    let sizes = platform.read.page_of_sizes(true, PageRequest::all()).await?.items;
    let systems = systems(caller);
    let environments = environments(caller, systems.as_deref());
    let places = platform.read.request_places(environments, systems.as_deref()).await?;
    Ok(RequestContext {
        templates,
        sizes,
        places,
    })
}

/// Systems where the caller may create machines; `None` means all.
fn systems(caller: &Caller) -> Option<Vec<SystemId>> {
    let subject = &caller.subject;
    if subject.is_platform_admin() {
        return None;
    }
    let may_create = subject
        .roles_on_systems()
        .filter(|(_, role)| role.allows(ResourceAction::Create, false))
        .map(|(system, _)| system)
        .filter(|system| subject.holds(Permission::VmCreate, Some(*system), None));
    Some(may_create.collect())
}

/// Environments in which the caller may create machines, everywhere or on one of these Systems.
fn environments(caller: &Caller, systems: Option<&[SystemId]>) -> EnvironmentSet {
    let everywhere = caller.subject.environments(Permission::VmCreate, None);
    systems.unwrap_or_default().iter().fold(everywhere, |all, system| {
        all.union(caller.subject.environments(Permission::VmCreate, Some(*system)))
    })
}
