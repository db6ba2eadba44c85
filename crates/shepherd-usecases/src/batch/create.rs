//! The items of a batch that creates machines: the checks of a single request, all items at once.

use std::collections::HashMap;

use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::{InstanceSizeId, ServiceId, TemplateId};
use shepherd_domain::naming::VmName;
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::sizes::SizeRecord;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::{CreateFacts, ServiceFacts};

use super::items::{Child, Refusals, distinct};
use crate::authorization::{self, Guarded};
use crate::vm::request::{self, Checked, RequestVm};
use crate::vm::submission;
use crate::{Platform, UseCaseError};

/// What the items refer to, as far as it is there.
pub(super) struct Known {
    services: HashMap<ServiceId, ServiceFacts>,
    namespaces: HashMap<String, NamespaceRecord>,
    templates: HashMap<TemplateId, TemplateRecord>,
    sizes: HashMap<InstanceSizeId, SizeRecord>,
}

/// Reads what the items refer to, one statement for each table.
pub(super) async fn gather(platform: &Platform, items: &[RequestVm]) -> Result<Known, UseCaseError> {
    let read = &platform.read;
    let services = distinct(items.iter().map(|item| item.service));
    let services = read.services_of(&services).await?;
    let namespaces = distinct(items.iter().map(|item| item.namespace.clone()));
    let namespaces = read.namespaces_of(&namespaces).await?;
    let templates = distinct(items.iter().map(|item| item.template));
    let templates = read.templates_of(&templates).await?;
    let sizes = distinct(items.iter().map(|item| item.size));
    let sizes = read.sizes_of(&sizes).await?;
    Ok(Known {
        services: services.into_iter().map(|service| (service.id, service)).collect(),
        namespaces: namespaces
            .into_iter()
            .map(|namespace| (namespace.name.clone(), namespace))
            .collect(),
        templates: templates.into_iter().map(|template| (template.id, template)).collect(),
        sizes: sizes.into_iter().map(|size| (size.size.id, size)).collect(),
    })
}

impl Known {
    /// The environments of the items that are the caller's business.
    pub(super) fn environments(&self, caller: &Caller, items: &[RequestVm]) -> Vec<Environment> {
        items.iter().filter_map(|item| self.environment(caller, item)).collect()
    }

    /// Only where the caller may create machines is it told which environment a namespace is in.
    fn environment(&self, caller: &Caller, item: &RequestVm) -> Option<Environment> {
        let system = self.services.get(&item.service)?.system_id;
        let environment = self.namespaces.get(&item.namespace)?.environment;
        let object = Guarded {
            not_found: ErrorCode::ServiceNotFound,
            id: &item.service,
            read: Permission::ServiceRead,
        };
        authorization::require(caller, Permission::VmCreate, ResourceAction::Create, system, object).ok()?;
        let held = caller
            .subject
            .holds(Permission::VmCreate, Some(system), Some(environment));
        held.then_some(environment)
    }

    /// Checks every item.
    ///
    /// # Errors
    /// INVALID_BATCH_ITEMS with the refusal of every bad item.
    pub(super) fn check(&self, caller: &Caller, items: Vec<RequestVm>) -> Result<Vec<Child>, UseCaseError> {
        let mut refusals = Refusals::default();
        let mut passed = Vec::with_capacity(items.len());
        let mut numbered: HashMap<ServiceId, i32> = HashMap::new();
        for (index, item) in items.into_iter().enumerate() {
            let earlier = numbered.entry(item.service).or_default();
            let checked = request::check(caller, &item, self.facts(&item));
            match checked.and_then(|checked| with_name(checked, *earlier)) {
                Ok(checked) => passed.push((item, checked)),
                Err(refusal) => refusals.add(index, field_of(refusal.code), refusal),
            }
            *earlier += 1;
        }
        let passed = refusals.unless_any(passed)?;
        passed
            .into_iter()
            .map(|(item, checked)| child(caller, item, checked))
            .collect()
    }

    fn facts(&self, item: &RequestVm) -> CreateFacts {
        CreateFacts {
            service: self.services.get(&item.service).cloned(),
            namespace: self.namespaces.get(&item.namespace).cloned(),
            template: self.templates.get(&item.template).cloned(),
            size: self.sizes.get(&item.size).cloned(),
        }
    }
}

/// The machine gets a number after those of the earlier items for its Service, so its name may be longer.
fn with_name(checked: Checked, earlier: i32) -> Result<Checked, Problem> {
    let index = checked.service.next_instance_index.saturating_add(earlier);
    VmName::generate(
        &checked.namespace.name,
        &checked.service.system_name,
        &checked.service.name,
        index.unsigned_abs(),
    )?;
    Ok(checked)
}

/// The field of an item that a refusal is about; the Service unless it is plainly another.
fn field_of(code: ErrorCode) -> &'static str {
    const NAMESPACE: [ErrorCode; 3] = [
        ErrorCode::NamespaceNotRegistered,
        ErrorCode::NamespaceDisabled,
        ErrorCode::NamespaceEnvForbidden,
    ];
    const TEMPLATE: [ErrorCode; 2] = [ErrorCode::TemplateNotFound, ErrorCode::TemplateNotActive];
    const SIZE: [ErrorCode; 2] = [ErrorCode::InstanceSizeNotFound, ErrorCode::InstanceSizeDisabled];
    if NAMESPACE.contains(&code) {
        "namespace"
    } else if TEMPLATE.contains(&code) {
        "template_id"
    } else if SIZE.contains(&code) {
        "instance_size_id"
    } else if code == ErrorCode::DiskSizeOutOfRange {
        "disk_gb"
    } else {
        "service_id"
    }
}

fn child(caller: &Caller, item: RequestVm, checked: Checked) -> Result<Child, UseCaseError> {
    let payload = request::payload(&item, &checked, caller.subject.user());
    Ok(Child {
        request: RequestType::CreateVm,
        aggregate: (AggregateType::Service, item.service.to_string()),
        payload: submission::stored_payload(&payload)?,
        environment: checked.namespace.environment,
        reason: Some(item.reason.trim().to_owned()),
        system: checked.service.system_id,
        service: item.service,
        vm: None,
        template: Some(item.template),
        size: Some(item.size),
        namespace: checked.namespace.name.clone(),
        context: request::context(caller, &checked, &[]),
        name: checked.service.name.clone(),
        facts: PolicyFacts {
            operation: RequestType::BatchCreate,
            batch: true,
            ..request::facts(caller, &item, &checked)
        },
        placed: None,
        created: Some(Box::new((item, checked))),
    })
}

/// What the items refer to must still be there, and stays until the commit; what several refer to is held once.
///
/// # Errors
/// INVALID_BATCH_ITEMS about the first item that refers to something that has changed.
pub(super) async fn hold(uow: &mut dyn UnitOfWork, children: &[Child]) -> Result<(), UseCaseError> {
    let mut held = Vec::new();
    for (index, child) in children.iter().enumerate() {
        let Some((item, checked)) = child.created.as_deref() else {
            continue;
        };
        let references = (item.service, item.namespace.as_str(), item.template, item.size);
        if held.contains(&references) {
            continue;
        }
        match request::hold(uow, item, checked).await {
            Ok(()) => held.push(references),
            Err(UseCaseError::Problem(refusal)) => {
                let mut refusals = Refusals::default();
                refusals.add(index, field_of(refusal.code), refusal);
                return Err(refusals.into_problem().into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
