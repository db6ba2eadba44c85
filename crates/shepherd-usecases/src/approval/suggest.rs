//! Where a request could go: the clusters an approver may choose from, and the one that is taken when nobody chooses.
//!
//! A cluster is eligible when it is enabled, HEALTHY and neither rebuilding nor degraded, is of the environment of the
//! namespace, and has everything the size needs. Its score is its `scheduling_weight` minus the number of machines it
//! has; the highest score wins, and of equal scores the first name. Storage does not decide: a cluster without a
//! default storage class can still be chosen together with one, so its list says that and no more.

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::catalog::InstanceSize;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ClusterId, InstanceSizeId, VmId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{ErrorCode, Params, Problem, Warning, WarningCode};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::TicketRecord;

use super::TicketRef;
use crate::cluster::gate;
use crate::execution::specs;
use crate::{Platform, UseCaseError, batch};

/// What a cluster is said to be that an administrator takes no part with.
const DISABLED: &str = "CLUSTER_DISABLED";
/// Hours after which a list of storage classes is old.
const STALE_AFTER_HOURS: i64 = 24;

/// What a new machine asks of its cluster.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The environment of the namespace.
    pub environment: Environment,
    /// Its size.
    pub size: &'a InstanceSize,
}

/// A cluster and what there is to say about it.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// The cluster.
    pub cluster: ClusterRecord,
    /// `scheduling_weight` minus the number of machines.
    pub score: i64,
    /// Whether the request can go there.
    pub eligible: bool,
    /// What keeps it from being eligible, or should be known before it is chosen.
    pub reasons: Vec<Reason>,
}

/// Something about a cluster, as a code with parameters: an error code, a warning code, or CLUSTER_DISABLED.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The code.
    pub code: String,
    /// Its parameters.
    pub params: Params,
}

impl From<Problem> for Reason {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code.to_string(),
            params: problem.params,
        }
    }
}

impl From<Warning> for Reason {
    fn from(warning: Warning) -> Self {
        Self {
            code: warning.code.to_string(),
            params: warning.params,
        }
    }
}

/// The clusters a ticket could go to, by name, for whoever may decide it. The others are listed when they are asked
/// for, as far as the caller decides tickets of their environment. What is done to an existing machine happens where
/// it is.
///
/// # Errors
/// TICKET_NOT_FOUND, FORBIDDEN, TICKET_NOT_PENDING and the others of a decision; INSTANCE_SIZE_NOT_FOUND,
/// VM_NOT_FOUND.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    ticket: &TicketRef,
    include_ineligible: bool,
) -> Result<Vec<Suggestion>, UseCaseError> {
    let ticket = super::decidable(platform, caller, ticket).await?;
    let decides = caller.subject.environments(Permission::ApprovalApprove, None);
    let mut found = of_any(platform, &ticket, decides).await?;
    if !include_ineligible {
        found.retain(|suggestion| suggestion.eligible);
    }
    found.sort_by(|a, b| a.cluster.name.cmp(&b.cluster.name));
    Ok(found)
}

/// The best eligible cluster for a new machine.
///
/// # Errors
/// When the store fails.
pub async fn best(platform: &Platform, wanted: Wanted<'_>) -> Result<Option<ClusterId>, UseCaseError> {
    let environments = EnvironmentSet::from_iter([wanted.environment]);
    Ok(first(&new_machine(platform, wanted, environments).await?))
}

/// The best eligible cluster for a pending ticket; of a request about an existing machine its cluster, if the request
/// can be carried out there now.
///
/// # Errors
/// INSTANCE_SIZE_NOT_FOUND, VM_NOT_FOUND.
pub async fn best_for(platform: &Platform, ticket: &TicketRecord) -> Result<Option<ClusterId>, UseCaseError> {
    let environments = EnvironmentSet::from_iter([ticket.environment]);
    Ok(first(&of_any(platform, ticket, environments).await?))
}

/// The one eligible cluster for a pending ticket; none when there are several.
///
/// # Errors
/// INSTANCE_SIZE_NOT_FOUND, VM_NOT_FOUND.
pub(crate) async fn only_for(platform: &Platform, ticket: &TicketRecord) -> Result<Option<ClusterId>, UseCaseError> {
    let environments = EnvironmentSet::from_iter([ticket.environment]);
    let found = of_any(platform, ticket, environments).await?;
    let mut eligible = found.iter().filter(|suggestion| suggestion.eligible);
    let first = eligible.next().map(|suggestion| suggestion.cluster.id);
    Ok(first.filter(|_| eligible.next().is_none()))
}

/// What is to be known about the storage classes of a cluster: STORAGE_CLASSES_STALE when the list is older than a day.
pub(crate) fn stale_storage(cluster: &ClusterRecord, now: DateTime<Utc>) -> Option<Warning> {
    let updated_at = cluster.storage_classes_updated_at?;
    (now - updated_at > TimeDelta::hours(STALE_AFTER_HOURS)).then(|| {
        Warning::new(WarningCode::StorageClassesStale)
            .with("cluster", cluster.name.as_str())
            .with("updated_at", updated_at.to_rfc3339())
    })
}

fn better(a: &Suggestion, b: &Suggestion) -> std::cmp::Ordering {
    b.score.cmp(&a.score).then_with(|| a.cluster.name.cmp(&b.cluster.name))
}

fn first(found: &[Suggestion]) -> Option<ClusterId> {
    let eligible = found.iter().filter(|suggestion| suggestion.eligible);
    eligible.min_by(|a, b| better(a, b)).map(|best| best.cluster.id)
}

async fn of_any(
    platform: &Platform,
    ticket: &TicketRecord,
    environments: EnvironmentSet,
) -> Result<Vec<Suggestion>, UseCaseError> {
    if ticket.request_type.is_batch() {
        of_batch(platform, ticket, environments).await
    } else {
        of_ticket(platform, ticket, environments).await
    }
}

/// The clusters that every child which waits could go to; for existing machines that is none, unless all are on one.
async fn of_batch(
    platform: &Platform,
    parent: &TicketRecord,
    environments: EnvironmentSet,
) -> Result<Vec<Suggestion>, UseCaseError> {
    let mut common: Option<Vec<Suggestion>> = None;
    for child in batch::approve::waiting(platform, parent.id).await? {
        let found = of_ticket(platform, &child.ticket, environments).await?;
        common = Some(match common {
            Some(common) => both(common, found),
            None => found,
        });
    }
    Ok(common.unwrap_or_default())
}

/// What holds for two requests at once.
fn both(one: Vec<Suggestion>, other: Vec<Suggestion>) -> Vec<Suggestion> {
    let shared = one.into_iter().filter_map(|mut suggestion| {
        let same = other.iter().find(|other| other.cluster.id == suggestion.cluster.id)?;
        suggestion.eligible &= same.eligible;
        for reason in &same.reasons {
            if !suggestion.reasons.contains(reason) {
                suggestion.reasons.push(reason.clone());
            }
        }
        Some(suggestion)
    });
    shared.collect()
}

async fn of_ticket(
    platform: &Platform,
    ticket: &TicketRecord,
    environments: EnvironmentSet,
) -> Result<Vec<Suggestion>, UseCaseError> {
    match ticket.request_type {
        RequestType::CreateVm => {
            let spec = specs::create(ticket, &specs::payload(platform, ticket).await?)?;
            let size = size(platform, spec.instance_size_id).await?;
            let wanted = Wanted {
                namespace: &spec.namespace,
                environment: ticket.environment,
                size: &size,
            };
            new_machine(platform, wanted, environments).await
        }
        RequestType::ModifyVm => {
            let spec = specs::modify(ticket, &specs::payload(platform, ticket).await?)?;
            let size = size(platform, spec.instance_size_id).await?;
            existing_machine(platform, ticket, Some(spec.vm_id), Some(&size)).await
        }
        RequestType::DeleteVm
        | RequestType::StartVm
        | RequestType::StopVm
        | RequestType::RestartVm
        | RequestType::VncAccess
        | RequestType::BatchCreate
        | RequestType::BatchDelete
        | RequestType::BatchPower
        | RequestType::SnapshotVm
        | RequestType::DeleteSnapshot
        | RequestType::RestoreVm
        | RequestType::CloneVm
        | RequestType::MigrateVm => existing_machine(platform, ticket, ticket.vm_id, None).await,
    }
}

async fn size(platform: &Platform, id: InstanceSizeId) -> Result<InstanceSize, UseCaseError> {
    let found = platform.read.get_size(id).await?;
    let found = found.ok_or_else(|| Problem::not_found(ErrorCode::InstanceSizeNotFound, id))?;
    Ok(found.size)
}

/// All clusters of these environments, machines counted in the same statement.
async fn new_machine(
    platform: &Platform,
    wanted: Wanted<'_>,
    environments: EnvironmentSet,
) -> Result<Vec<Suggestion>, UseCaseError> {
    let clusters = platform
        .read
        .list_clusters(environments, None, None, PageRequest::all())
        .await?;
    let now = platform.now();
    let suggestions = clusters.items.into_iter().map(|cluster| {
        let candidate = cluster.candidate();
        let mut reasons = objections(&cluster, wanted);
        let eligible = reasons.is_empty();
        if candidate.default_storage_class.is_none() {
            let none = Warning::new(WarningCode::NoDefaultStorageClass).with("cluster", cluster.name.as_str());
            reasons.push(none.into());
        }
        reasons.extend(stale_storage(&cluster, now).map(Reason::from));
        Suggestion {
            score: candidate.score(),
            cluster,
            eligible,
            reasons,
        }
    });
    Ok(suggestions.collect())
}

/// Everything that keeps a new machine from a cluster.
fn objections(cluster: &ClusterRecord, wanted: Wanted<'_>) -> Vec<Reason> {
    let candidate = cluster.candidate();
    let found = candidate.objections(wanted.namespace, wanted.environment, wanted.size);
    let mut reasons: Vec<Reason> = found
        .into_iter()
        .map(|objection| {
            if objection.code == ErrorCode::ValidationFailed {
                disabled(cluster)
            } else {
                objection.into()
            }
        })
        .collect();
    // Its health is among the objections already.
    let watch = gate::open(cluster).err();
    reasons.extend(
        watch
            .filter(|problem| problem.code != ErrorCode::ClusterUnhealthy)
            .map(Reason::from),
    );
    reasons
}

fn disabled(cluster: &ClusterRecord) -> Reason {
    Reason {
        code: DISABLED.to_owned(),
        params: Params::from_iter([("cluster".to_owned(), cluster.name.as_str().into())]),
    }
}

/// The cluster of a machine. Whoever deletes waits for a sick cluster; everything else is refused by it.
async fn existing_machine(
    platform: &Platform,
    ticket: &TicketRecord,
    vm: Option<VmId>,
    size: Option<&InstanceSize>,
) -> Result<Vec<Suggestion>, UseCaseError> {
    let Some(id) = vm else { return Ok(Vec::new()) };
    let found = platform.read.get_vm(id).await?;
    let vm = found.ok_or_else(|| Problem::not_found(ErrorCode::VmNotFound, id))?;
    let found = platform.read.get_cluster(vm.cluster_id).await?;
    let cluster = found.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, vm.cluster_id))?;
    let candidate = cluster.candidate();
    let waits = [RequestType::DeleteVm, RequestType::DeleteSnapshot].contains(&ticket.request_type);
    let sick = (!waits).then(|| gate::open(&cluster).err()).flatten();
    let lacks = size.and_then(|size| candidate.admit_size(size).err());
    let reasons: Vec<Reason> = sick.into_iter().chain(lacks).map(Reason::from).collect();
    Ok(vec![Suggestion {
        score: candidate.score(),
        eligible: reasons.is_empty(),
        reasons,
        cluster,
    }])
}
