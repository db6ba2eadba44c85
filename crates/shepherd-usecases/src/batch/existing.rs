//! The items of a batch about existing machines: the checks of a single request, all items at once.

use std::collections::HashMap;

use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceAction};
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::{ClusterId, VmId};
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::spec::{DeletePayload, OperationPayload};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::UnitOfWork;
use shepherd_ports::batch_items::OpenOperation;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::tickets::ExistingTicket;
use shepherd_ports::vms::VmRecord;

use super::items::{Asked, Child, OnMachine, Refusals, distinct, permission};
use crate::authorization::{self, Guarded};
use crate::cluster::gate;
use crate::execution::Placed;
use crate::vm::submission;
use crate::{Platform, UseCaseError, policy};

/// The field of an item that names its machine.
const FIELD: &str = "vm_id";

/// The machines that are there.
pub(super) struct Known(HashMap<VmId, VmRecord>);

/// What the state of the machines is compared with.
struct Surroundings {
    open: HashMap<VmId, OpenOperation>,
    clusters: HashMap<ClusterId, ClusterRecord>,
}

/// An item that may be asked for, with its machine.
struct Accepted<'a> {
    vm: &'a VmRecord,
    reason: Option<String>,
}

/// Reads the machines in one statement.
pub(super) async fn gather(platform: &Platform, items: &[OnMachine]) -> Result<Known, UseCaseError> {
    let ids = distinct(items.iter().map(|item| item.vm));
    let found = platform.read.machines_of(&ids).await?;
    Ok(Known(found.into_iter().map(|vm| (vm.id, vm)).collect()))
}

impl Known {
    /// The environments of the machines that the caller sees.
    pub(super) fn environments(&self, caller: &Caller, asked: &Asked) -> Vec<Environment> {
        let machines = asked.machines().iter().filter_map(|item| self.0.get(&item.vm));
        machines
            .filter(|vm| match allowed(caller, asked, vm) {
                Ok(()) => true,
                Err(refusal) => refusal.code != ErrorCode::VmNotFound,
            })
            .map(|vm| vm.environment)
            .collect()
    }

    /// Checks every item.
    ///
    /// # Errors
    /// INVALID_BATCH_ITEMS with the refusal of every bad item.
    pub(super) async fn check(
        &self,
        platform: &Platform,
        caller: &Caller,
        asked: &Asked,
    ) -> Result<Vec<Child>, UseCaseError> {
        let surroundings = self.surroundings(platform, asked).await?;
        let mut refusals = Refusals::default();
        let mut accepted = Vec::with_capacity(asked.size());
        for (index, item) in asked.machines().iter().enumerate() {
            match self.admit(caller, asked, item, &surroundings) {
                Ok(one) => accepted.push(one),
                Err(UseCaseError::Problem(refusal)) => refusals.add(index, FIELD, refusal),
                Err(error) => return Err(error),
            }
        }
        let accepted = refusals.unless_any(accepted)?;
        let machines: Vec<&VmRecord> = accepted.iter().map(|one| one.vm).collect();
        let (kind, user) = (asked.kind().request_type(), caller.subject.user());
        let facts = policy::facts::of_machines(platform, kind, user, &machines).await?;
        let children = accepted.into_iter().zip(facts);
        children.map(|(one, facts)| child(caller, asked, one, facts)).collect()
    }

    async fn surroundings(&self, platform: &Platform, asked: &Asked) -> Result<Surroundings, UseCaseError> {
        let ids: Vec<VmId> = self.0.keys().copied().collect();
        // What is to be deleted waits for its cluster, whatever that is like.
        let asks_clusters = self.0.values().filter(|_| asked.power().is_some());
        let clusters = distinct(asks_clusters.map(|vm| vm.cluster_id));
        let clusters = platform.read.clusters_of(&clusters).await?;
        Ok(Surroundings {
            open: open_operations(platform, asked, &ids).await?,
            clusters: clusters.into_iter().map(|cluster| (cluster.id, cluster)).collect(),
        })
    }

    /// The checks of the single request, in their order.
    fn admit<'a>(
        &'a self,
        caller: &Caller,
        asked: &Asked,
        item: &OnMachine,
        around: &Surroundings,
    ) -> Result<Accepted<'a>, UseCaseError> {
        let missing = || Problem::not_found(ErrorCode::VmNotFound, item.vm);
        let vm = self.0.get(&item.vm).ok_or_else(missing)?;
        allowed(caller, asked, vm)?;
        let reason = submission::optional_reason(item.reason.clone())?;
        require_state(vm, asked.request())?;
        if asked.power().is_some() {
            let gone = || Problem::not_found(ErrorCode::ClusterNotFound, vm.cluster_id);
            gate::open(around.clusters.get(&vm.cluster_id).ok_or_else(gone)?)?;
        }
        match around.open.get(&vm.id) {
            Some(open) => Err(duplicate(Some(open), asked.request(), vm.id, &vm.namespace).into()),
            None => Ok(Accepted { vm, reason }),
        }
    }
}

/// Whether the caller sees the machine, and may ask for this.
fn allowed(caller: &Caller, asked: &Asked, vm: &VmRecord) -> Result<(), Problem> {
    let action = match asked {
        Asked::Create(_) => ResourceAction::Create,
        Asked::Delete(_) => ResourceAction::Delete,
        Asked::Power(..) => ResourceAction::Operate,
    };
    let object = Guarded {
        not_found: ErrorCode::VmNotFound,
        id: &vm.id,
        read: Permission::VmRead,
    };
    authorization::require_vm(
        caller,
        permission(asked.kind()),
        action,
        vm.system_id,
        vm.environment,
        &vm.created_by,
        object,
    )
}

/// INVALID_STATE_TRANSITION unless the machine is in a state from which this is accepted.
fn require_state(vm: &VmRecord, request: RequestType) -> Result<(), UseCaseError> {
    let admitted = if request == RequestType::DeleteVm {
        vm.status.delete(vm.ticket_failed).map(drop)
    } else {
        vm.status.admit(request)
    };
    admitted.map_err(|error| UseCaseError::invalid_transition("vm", &error))
}

async fn open_operations(
    platform: &Platform,
    asked: &Asked,
    machines: &[VmId],
) -> Result<HashMap<VmId, OpenOperation>, UseCaseError> {
    let group = asked.request().operation_group();
    let open = platform.read.open_operations_of(machines, group).await?;
    Ok(open.into_iter().map(|open| (open.vm_id, open)).collect())
}

fn duplicate(open: Option<&OpenOperation>, request: RequestType, vm: VmId, namespace: &str) -> Problem {
    let existing = open.map(|open| ExistingTicket {
        id: open.id,
        number: open.number.clone(),
    });
    submission::duplicate_problem(existing, request.operation_type(), &vm.to_string(), namespace)
}

fn child(caller: &Caller, asked: &Asked, item: Accepted<'_>, facts: PolicyFacts) -> Result<Child, UseCaseError> {
    let Accepted { vm, reason } = item;
    let requester = caller.subject.user();
    let (payload, placed) = if asked.power().is_some() {
        let operation = OperationPayload {
            schema: 1,
            vm_id: vm.id,
            vm_name: vm.name.clone(),
            namespace: vm.namespace.clone(),
            requester,
            reason: reason.clone(),
            snapshot: None,
            clone: None,
            migration: None,
        };
        (submission::stored_payload(&operation)?, Some(placed(vm, operation)))
    } else {
        let deletion = DeletePayload {
            schema: 1,
            vm_id: vm.id,
            vm_name: vm.name.clone(),
            namespace: vm.namespace.clone(),
            requester,
            reason: reason.clone(),
        };
        (submission::stored_payload(&deletion)?, None)
    };
    Ok(Child {
        request: asked.request(),
        aggregate: (AggregateType::Vm, vm.id.to_string()),
        payload,
        environment: vm.environment,
        reason,
        system: vm.system_id,
        service: vm.service_id,
        vm: Some(vm.id),
        template: None,
        size: None,
        namespace: vm.namespace.clone(),
        context: submission::context_of(caller, vm),
        name: vm.name.clone(),
        facts,
        placed,
        created: None,
    })
}

/// A machine is operated where it is.
fn placed(vm: &VmRecord, operation: OperationPayload) -> Placed {
    Placed {
        cluster: vm.cluster_id,
        vm_id: vm.id,
        storage_class: None,
        template: None,
        size: None,
        numbers: None,
        operation: Some(operation),
        warnings: Vec::new(),
    }
}

/// The refusal when the guard on open operations was broken after the items were checked.
pub(super) async fn duplicates(
    platform: &Platform,
    asked: &Asked,
    children: &[Child],
) -> Result<Problem, UseCaseError> {
    let machines: Vec<VmId> = children.iter().filter_map(|child| child.vm).collect();
    let open = open_operations(platform, asked, &machines).await?;
    let mut refusals = Refusals::default();
    for (index, child) in children.iter().enumerate() {
        if let Some((vm, found)) = child.vm.and_then(|vm| Some((vm, open.get(&vm)?))) {
            refusals.add(
                index,
                FIELD,
                duplicate(Some(found), child.request, vm, &child.namespace),
            );
        }
    }
    if refusals.is_empty() {
        // Whatever was in the way is settled already.
        refusals.add_all(Problem::new(ErrorCode::DuplicatePendingRequest).with("operation", asked.operation()));
    }
    Ok(refusals.into_problem())
}

/// Repeats the checks of the states of the machines inside the transaction, holding their rows.
///
/// # Errors
/// INVALID_BATCH_ITEMS with the refusal of every machine that has changed.
pub(super) async fn hold(uow: &mut dyn UnitOfWork, children: &[Child]) -> Result<(), UseCaseError> {
    let mut refusals = Refusals::default();
    // In the order in which every approval holds machines.
    let mut machines: Vec<_> = children
        .iter()
        .enumerate()
        .filter(|(_, child)| child.vm.is_some())
        .collect();
    machines.sort_by_key(|(_, child)| child.vm);
    for (index, child) in machines {
        let Some(id) = child.vm else { continue };
        let found = uow.vms().hold(id).await?;
        let state = match &found {
            Some(vm) => require_state(vm, child.request),
            None => Err(Problem::not_found(ErrorCode::VmNotFound, id).into()),
        };
        match state {
            Ok(()) => {}
            Err(UseCaseError::Problem(refusal)) => refusals.add(index, FIELD, refusal),
            Err(error) => return Err(error),
        }
    }
    Ok(refusals.unless_any(())?)
}
