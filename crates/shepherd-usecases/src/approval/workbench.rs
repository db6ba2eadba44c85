//! The workbench: the pending tickets a caller may decide, each with what a decision has to look at.
//!
//! Whatever the page holds, it costs the same few statements: the tickets, their counts, what they point to, and all
//! clusters. Everything about a single ticket is worked out in memory.

use serde::de::DeserializeOwned;
use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::catalog::{InstanceSize, TemplateStatus};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{InstanceSizeId, TemplateId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::problem::{Warning, WarningCode};
use shepherd_domain::spec::{CreateSpec, EffectiveNumbers, ModifySpec};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::{NamedSummary, NamedVersion, TicketContext, TicketRecord};
use shepherd_ports::workbench::{
    TemplateFact, TicketFacts, TicketReferences, TierCounts, VmFact, WorkbenchFilter, WorkbenchView,
};

use super::suggest;
use crate::cluster::gate;
use crate::{Platform, UseCaseError};

/// A ticket as its approver sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The ticket.
    pub ticket: TicketRecord,
    /// What there is to say about it now.
    pub assessment: Assessment,
}

/// What there is to say about a pending ticket now.
#[derive(Clone, Debug)]
pub struct Assessment {
    /// Names and numbers of what would be carried out: those of the request, or of the spec that an approver replaced
    /// it by. Its own warnings moved to [`Self::warnings`].
    pub context: TicketContext,
    /// What the request was told, and what has become true since.
    pub warnings: Vec<Warning>,
    /// How many clusters could take it now; of a request about an existing machine 1 or 0. `None` for a batch, whose
    /// children have clusters of their own.
    pub eligible_cluster_count: Option<u64>,
    /// How many children it has; `None` unless it is a batch.
    pub child_count: Option<i64>,
    /// Whether the caller asked for it and so must leave it to others.
    pub self_approval_blocked: bool,
}

/// A page of the workbench, most urgent first, and how many tickets of each urgency the filter shows.
///
/// # Errors
/// FORBIDDEN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    filter: &WorkbenchFilter,
    page: PageRequest,
) -> Result<(Page<Entry>, TierCounts), UseCaseError> {
    caller.require(Permission::ApprovalView)?;
    let view = WorkbenchView {
        user: caller.subject.user(),
        visible: caller.subject.environments(Permission::ApprovalView, None),
        now: platform.now(),
    };
    let (found, counts) = platform.read.workbench(&view, filter, page).await?;
    let assessments = assess(platform, caller, &found.items).await?;
    let items = found.items.into_iter().zip(assessments);
    let entries = Page {
        items: items.map(|(ticket, assessment)| Entry { ticket, assessment }).collect(),
        total: found.total,
        request: found.request,
    };
    Ok((entries, counts))
}

/// Looks at tickets that wait for a decision, in their order.
///
/// # Errors
/// When the store fails, or holds a damaged spec.
pub(crate) async fn assess(
    platform: &Platform,
    caller: &Caller,
    tickets: &[TicketRecord],
) -> Result<Vec<Assessment>, UseCaseError> {
    if tickets.is_empty() {
        return Ok(Vec::new());
    }
    let replacements = tickets.iter().map(Replacement::of).collect::<Result<Vec<_>, _>>()?;
    let facts = platform.read.ticket_facts(&references(tickets, &replacements)).await?;
    let clusters = platform
        .read
        .list_clusters(EnvironmentSet::ALL, None, None, PageRequest::all())
        .await?
        .items;
    let world = World {
        platform,
        caller,
        facts,
        clusters,
    };
    let looked_at = tickets.iter().zip(&replacements);
    Ok(looked_at
        .map(|(ticket, replacement)| world.assess(ticket, replacement.as_ref()))
        .collect())
}

/// The spec that an approver put in the place of the one asked for.
enum Replacement {
    Create(CreateSpec),
    Modify(ModifySpec),
}

impl Replacement {
    fn of(ticket: &TicketRecord) -> Result<Option<Self>, UseCaseError> {
        let Some(spec) = &ticket.modified_spec else {
            return Ok(None);
        };
        if ticket.request_type == RequestType::ModifyVm {
            stored(spec).map(|spec| Some(Self::Modify(spec)))
        } else {
            stored(spec).map(|spec| Some(Self::Create(spec)))
        }
    }

    fn template(&self) -> Option<TemplateId> {
        match self {
            Self::Create(spec) => Some(spec.template_id),
            Self::Modify(_) => None,
        }
    }

    fn size(&self) -> InstanceSizeId {
        match self {
            Self::Create(spec) => spec.instance_size_id,
            Self::Modify(spec) => spec.instance_size_id,
        }
    }

    fn numbers(&self, size: &InstanceSize, context: &TicketContext) -> EffectiveNumbers {
        match self {
            Self::Create(spec) => EffectiveNumbers::of(spec, size),
            Self::Modify(spec) => {
                let current = context.current.as_ref().and_then(|current| current.disk_gb);
                EffectiveNumbers::of_modification(spec, size, current)
            }
        }
    }
}

fn stored<T: DeserializeOwned>(spec: &Value) -> Result<T, UseCaseError> {
    serde_json::from_value(spec.clone()).map_err(|source| UseCaseError::Stored {
        what: "modified spec",
        source,
    })
}

/// The template version that would be taken.
fn template_of(ticket: &TicketRecord, replacement: Option<&Replacement>) -> Option<TemplateId> {
    replacement.and_then(Replacement::template).or(ticket.template_id)
}

/// The size that would be taken.
fn size_of(ticket: &TicketRecord, replacement: Option<&Replacement>) -> Option<InstanceSizeId> {
    replacement.map(Replacement::size).or(ticket.instance_size_id)
}

fn references(tickets: &[TicketRecord], replacements: &[Option<Replacement>]) -> TicketReferences {
    let mut wanted = TicketReferences::default();
    for (ticket, replacement) in tickets.iter().zip(replacements) {
        let replacement = replacement.as_ref();
        wanted.templates.extend(template_of(ticket, replacement));
        wanted.sizes.extend(size_of(ticket, replacement));
        wanted.vms.extend(ticket.vm_id);
        if ticket.request_type.is_batch() {
            wanted.parents.push(ticket.id);
        }
    }
    wanted
}

/// Everything that the tickets of one page are held against.
struct World<'a> {
    platform: &'a Platform,
    caller: &'a Caller,
    facts: TicketFacts,
    clusters: Vec<ClusterRecord>,
}

impl World<'_> {
    fn assess(&self, ticket: &TicketRecord, replacement: Option<&Replacement>) -> Assessment {
        let template = template_of(ticket, replacement).and_then(|id| self.template(id));
        let size = size_of(ticket, replacement).and_then(|id| self.size(id));
        let vm = ticket.vm_id.and_then(|id| self.vm(id));
        let mut context = ticket.context_snapshot.clone();
        let told = std::mem::take(&mut context.warnings);
        if let Some(replacement) = replacement {
            replace(&mut context, replacement, template, size);
        }
        if let (Some(named), Some(vm)) = (context.vm.as_mut(), vm) {
            named.status = vm.status;
        }
        let (eligible, storage) = self.clusters_for(ticket, size, vm);
        let mut warnings: Vec<Warning> = told.into_iter().filter(|warning| is_lasting(warning.code)).collect();
        // A machine keeps the version it was made from.
        let creates = ticket.request_type == RequestType::CreateVm;
        warnings.extend(template.filter(|_| creates).and_then(deprecated));
        warnings.extend(size.and_then(disabled_since));
        warnings.extend(overcommitted(ticket.environment, &context));
        warnings.extend(storage);
        Assessment {
            context,
            warnings,
            eligible_cluster_count: eligible,
            child_count: self.children(ticket),
            self_approval_blocked: super::self_approval_blocked(self.platform, self.caller, ticket),
        }
    }

    fn template(&self, id: TemplateId) -> Option<&TemplateFact> {
        self.facts.templates.iter().find(|template| template.id == id)
    }

    fn size(&self, id: InstanceSizeId) -> Option<&InstanceSize> {
        let found = self.facts.sizes.iter().find(|record| record.size.id == id);
        found.map(|record| &record.size)
    }

    fn vm(&self, id: VmId) -> Option<&VmFact> {
        self.facts.vms.iter().find(|vm| vm.id == id)
    }

    fn children(&self, ticket: &TicketRecord) -> Option<i64> {
        ticket.request_type.is_batch().then(|| {
            let found = self
                .facts
                .children
                .iter()
                .find(|counted| counted.ticket_id == ticket.id);
            found.map_or(0, |counted| counted.count)
        })
    }

    /// How many clusters could take the request, and what is to be known about the storage of the one that would be
    /// taken when nobody chooses.
    fn clusters_for(
        &self,
        ticket: &TicketRecord,
        size: Option<&InstanceSize>,
        vm: Option<&VmFact>,
    ) -> (Option<u64>, Vec<Warning>) {
        if ticket.request_type.is_batch() {
            return (None, Vec::new());
        }
        if ticket.request_type != RequestType::CreateVm {
            return (Some(u64::from(self.is_possible(ticket, size, vm))), Vec::new());
        }
        let namespace = ticket.namespace.as_deref().unwrap_or_default();
        let mut count = 0;
        let mut best: Option<(&ClusterRecord, i64)> = None;
        for cluster in &self.clusters {
            let candidate = cluster.candidate();
            let admitted = size.is_some_and(|size| candidate.admit(namespace, ticket.environment, size).is_ok());
            if !admitted || gate::open(cluster).is_err() {
                continue;
            }
            count += 1;
            // Clusters come by name, so of equal scores the first name stays.
            if best.is_none_or(|(_, score)| candidate.score() > score) {
                best = Some((cluster, candidate.score()));
            }
        }
        let storage = best.map(|(cluster, _)| self.storage(cluster)).unwrap_or_default();
        (Some(count), storage)
    }

    /// Whether the cluster of an existing machine could do what is asked. Deletions wait for a sick one.
    fn is_possible(&self, ticket: &TicketRecord, size: Option<&InstanceSize>, vm: Option<&VmFact>) -> bool {
        let Some(cluster) = vm.and_then(|vm| self.clusters.iter().find(|cluster| cluster.id == vm.cluster_id)) else {
            return false;
        };
        let waits = [RequestType::DeleteVm, RequestType::DeleteSnapshot].contains(&ticket.request_type);
        let lacks = size
            .filter(|_| ticket.request_type == RequestType::ModifyVm)
            .is_some_and(|size| !cluster.detected_capabilities.missing(&size.capabilities).is_empty());
        (waits || gate::open(cluster).is_ok()) && !lacks
    }

    fn storage(&self, cluster: &ClusterRecord) -> Vec<Warning> {
        let none = cluster
            .effective_storage_class()
            .is_none()
            .then(|| Warning::new(WarningCode::NoDefaultStorageClass).with("cluster", cluster.name.as_str()));
        let stale = suggest::stale_storage(cluster, self.platform.now());
        none.into_iter().chain(stale).collect()
    }
}

/// Writes what would be carried out over what was asked for.
fn replace(
    context: &mut TicketContext,
    replacement: &Replacement,
    template: Option<&TemplateFact>,
    size: Option<&InstanceSize>,
) {
    if let Some(template) = template {
        context.template = Some(NamedVersion {
            id: template.id,
            name: template.name.clone(),
            version: template.version,
        });
    }
    let Some(size) = size else { return };
    let numbers = replacement.numbers(size, context);
    context.instance_size = Some(NamedSummary {
        id: size.id,
        name: size.name.clone(),
        summary: format!("{} CPU, {} MiB, {} GiB", size.cpu_cores, size.memory_mb, size.disk_gb),
    });
    context.cpu_cores = Some(numbers.cpu_cores);
    context.memory_mb = Some(numbers.memory_mb);
    context.cpu_request = Some(numbers.cpu_request);
    context.memory_request_mb = Some(numbers.memory_request_mb);
    context.disk_gb = Some(numbers.disk_gb);
    context.min_disk_gb = Some(size.min_disk_gb);
    context.max_disk_gb = Some(size.max_disk_gb);
}

/// What was found at submission and is not looked at anew.
fn is_lasting(code: WarningCode) -> bool {
    match code {
        WarningCode::NameLengthWarning
        | WarningCode::PreviewUnavailable
        | WarningCode::DryRunSlow
        | WarningCode::NamespaceWillBeCreated
        | WarningCode::SpecFieldsRemoved
        | WarningCode::SchemaFallback
        | WarningCode::SystemWithoutEnabledOwner => true,
        WarningCode::TemplateDeprecated
        | WarningCode::InstanceSizeDisabledSinceRequest
        | WarningCode::NoDefaultStorageClass
        | WarningCode::StorageClassesStale
        | WarningCode::ProdOvercommit => false,
    }
}

fn deprecated(template: &TemplateFact) -> Option<Warning> {
    (template.status == TemplateStatus::Deprecated).then(|| {
        Warning::new(WarningCode::TemplateDeprecated)
            .with("template", template.name.as_str())
            .with("version", template.version)
    })
}

fn disabled_since(size: &InstanceSize) -> Option<Warning> {
    (!size.enabled)
        .then(|| Warning::new(WarningCode::InstanceSizeDisabledSinceRequest).with("instance_size", size.name.as_str()))
}

/// In production promising more than there is is told.
fn overcommitted(environment: Environment, context: &TicketContext) -> Option<Warning> {
    let less =
        |request: Option<i32>, limit: Option<i32>| request.zip(limit).is_some_and(|(request, limit)| request < limit);
    let overcommitted =
        less(context.cpu_request, context.cpu_cores) || less(context.memory_request_mb, context.memory_mb);
    (environment == Environment::Prod && overcommitted).then(|| {
        let name = context.instance_size.as_ref().map_or("", |size| size.name.as_str());
        Warning::new(WarningCode::ProdOvercommit).with("instance_size", name)
    })
}
