//! An administrator takes a machine over: one, never more, and never by itself.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::adoption::{AdoptionStatus, Claim, Obstacle, annotated_row};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::{AdoptionId, VmId};
use shepherd_domain::infrastructure::VmManifest;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::vm::VmStatus;
use shepherd_ports::adoptions::{AdoptedVm, AdoptionRecord};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::events::NewEvent;
use shepherd_ports::vms::NewRevision;
use shepherd_ports::{RepositoryError, UnitOfWork};

use super::listing::being_deleted;
use super::{decided_otherwise, not_pending, not_possible, visible};
use crate::cluster::gate;
use crate::{Platform, UseCaseError};

/// Makes a row for the object as it is now, with its first revision. The object is read, and not changed.
///
/// # Errors
/// FORBIDDEN, ADOPTION_NOT_FOUND, ADOPTION_NOT_PENDING{status}, ADOPTION_NOT_POSSIBLE{reason}; CLUSTER_UNHEALTHY and
/// the like, CLUSTER_UNREACHABLE.
pub async fn execute(platform: &Platform, caller: &Caller, id: AdoptionId) -> Result<VmId, UseCaseError> {
    caller.require(Permission::AdoptionManage)?;
    let record = visible(platform, caller, id).await?;
    if record.status != AdoptionStatus::Pending {
        return Err(not_pending(record.status));
    }
    let cluster = platform
        .read
        .get_cluster(record.cluster_id)
        .await?
        .ok_or(UseCaseError::Broken("a machine to adopt has no cluster"))?;
    if !cluster.enabled {
        return Err(not_possible(Obstacle::ClusterDisabled));
    }
    gate::open(&cluster)?;
    let manifest = read(platform, &cluster, &record).await?;
    let vm = machine(platform, caller, &cluster, &record, &manifest)?;
    store(platform, caller, &record, &vm, &manifest).await?;
    tracing::info!(vm = %vm.observed.name, vm_id = %vm.id, cluster = %cluster.name, "adopted");
    catch_up(platform, &vm).await;
    Ok(vm.id)
}

async fn read(
    platform: &Platform,
    cluster: &ClusterRecord,
    record: &AdoptionRecord,
) -> Result<VmManifest, UseCaseError> {
    let found = platform
        .provider
        .get_manifest(cluster.id, &record.namespace, &record.resource_name)
        .await;
    match found {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => Err(not_possible(Obstacle::ObjectMissing)),
        Err(error) => {
            tracing::info!(cluster = %cluster.name, %error, "a machine to adopt could not be read");
            Err(Problem::new(ErrorCode::ClusterUnreachable)
                .with("cluster", cluster.name.as_str())
                .into())
        }
    }
}

/// The row of the object, if it is still the one that was found and still says the same.
fn machine(
    platform: &Platform,
    caller: &Caller,
    cluster: &ClusterRecord,
    record: &AdoptionRecord,
    manifest: &VmManifest,
) -> Result<AdoptedVm, UseCaseError> {
    let observed = &manifest.vm;
    if observed.uid != record.k8s_uid {
        return Err(not_possible(Obstacle::ObjectReplaced));
    }
    if being_deleted(observed) {
        return Err(not_possible(Obstacle::BeingDeleted));
    }
    let claim = Claim::read(&manifest.labels).map_err(not_possible)?;
    let found = (&record.system, &record.service, &record.instance);
    if (&claim.system, &claim.service, &claim.instance) != found {
        return Err(not_possible(Obstacle::LabelsChanged));
    }
    let annotated = annotated_row(observed.vm_id.as_deref()).map_err(not_possible)?;
    Ok(AdoptedVm {
        // The projection knows an object by its annotation, and without one by its uid.
        id: annotated.unwrap_or_else(|| platform.ids.id()),
        cluster: cluster.id,
        claim,
        created_by: caller.context.actor.clone(),
        observed: observed.clone(),
        status: observed.condition.status(false),
        cpu_cores: manifest.cpu_cores,
        memory_mb: manifest.memory_mb,
        disk_gb: manifest.disk_gb,
        storage_class: manifest.storage_class.clone(),
        at: platform.now(),
    })
}

/// Decision, row, number, revision, fact and audit, or nothing of it.
async fn store(
    platform: &Platform,
    caller: &Caller,
    record: &AdoptionRecord,
    vm: &AdoptedVm,
    manifest: &VmManifest,
) -> Result<(), UseCaseError> {
    let now = platform.now();
    let actor = &caller.context.actor;
    let mut uow = platform.begin().await?;
    if !uow.adoptions().adopt(record.id, vm.id, actor, now).await? {
        drop(uow);
        return Err(decided_otherwise(platform, record.id).await);
    }
    let environment = hold_places(&mut *uow, vm).await?;
    let service = uow
        .adoptions()
        .hold_service(&vm.claim.system, &vm.claim.service)
        .await?;
    let service = service.ok_or_else(|| not_possible(Obstacle::ServiceNotFound))?;
    uow.adoptions().insert_vm(vm, service).await.map_err(taken)?;
    // An instance is below the largest number, so that the next one exists.
    let next = vm.claim.index.saturating_add(1);
    uow.adoptions().raise_instance_index(service, next).await?;
    uow.vms()
        .add_revision(&revision(platform, caller, vm, manifest)?)
        .await?;
    let payload = json!({
        "adoption_id": record.id, "cluster_id": vm.cluster, "namespace": record.namespace, "name": vm.observed.name,
        "service_id": service, "instance": vm.claim.instance,
    });
    uow.events()
        .insert(fact(platform, caller, vm.id, payload, environment, now))
        .await?;
    let entry = AuditEntry::new(AuditAction::VmAdopt, "vm", vm.id)
        .named(&vm.observed.name)
        .environment(environment)
        .parent("cluster", vm.cluster)
        .details(json!({
            "adoption_id": record.id, "cluster": record.cluster_name, "namespace": record.namespace,
            "system": vm.claim.system, "service": vm.claim.service, "instance": vm.claim.instance,
            "k8s_uid": vm.observed.uid,
        }));
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    Ok(uow.commit().await?)
}

/// Keeps namespace and cluster as they are; answers their common environment.
async fn hold_places(uow: &mut dyn UnitOfWork, vm: &AdoptedVm) -> Result<Environment, UseCaseError> {
    let namespace = uow
        .namespaces()
        .hold(&vm.observed.namespace)
        .await?
        .ok_or_else(|| not_possible(Obstacle::NamespaceNotRegistered))?;
    let cluster = uow
        .clusters()
        .hold(vm.cluster)
        .await?
        .ok_or(UseCaseError::Broken("a machine to adopt has no cluster"))?;
    if !cluster.enabled {
        return Err(not_possible(Obstacle::ClusterDisabled));
    }
    if namespace.environment != cluster.environment {
        return Err(not_possible(Obstacle::EnvironmentMismatch));
    }
    Ok(namespace.environment)
}

/// Which place another machine has taken.
fn taken(error: RepositoryError) -> UseCaseError {
    let places = [
        ("pk_vms", Obstacle::VmIdTaken),
        ("uq_vms_name", Obstacle::NameTaken),
        ("uq_vms_instance_index", Obstacle::InstanceTaken),
    ];
    match places.into_iter().find(|(constraint, _)| error.is_unique(constraint)) {
        Some((_, obstacle)) => not_possible(obstacle),
        None => error.into(),
    }
}

fn revision(
    platform: &Platform,
    caller: &Caller,
    vm: &AdoptedVm,
    manifest: &VmManifest,
) -> Result<NewRevision, UseCaseError> {
    let yaml = manifest.yaml.as_bytes();
    Ok(NewRevision {
        id: platform.ids.id(),
        vm_id: vm.id,
        vm_name: vm.observed.name.clone(),
        snapshot: zstd::encode_all(yaml, 0).map_err(|_| UseCaseError::Broken("compressing a revision failed"))?,
        sha256: platform.digests.sha256_hex(yaml),
        reason: Some("adopted".to_owned()),
        ticket_id: None,
        changed_by: caller.context.actor.clone(),
    })
}

fn fact(
    platform: &Platform,
    caller: &Caller,
    vm: VmId,
    payload: Value,
    environment: Environment,
    at: DateTime<Utc>,
) -> NewEvent {
    NewEvent {
        id: platform.ids.id(),
        event_type: EventType::VmAdopted,
        aggregate_type: AggregateType::Vm,
        aggregate_id: vm.to_string(),
        payload,
        status: EventStatus::Completed,
        causation_id: None,
        environment: Some(environment),
        created_by: caller.context.actor.clone(),
        at,
        trace_id: caller.context.request_id.clone(),
        trace_parent: None,
    }
}

/// What the watch reported between the reading and the row found no row. Another look closes the gap; when it fails,
/// the next report does.
async fn catch_up(platform: &Platform, vm: &AdoptedVm) {
    let looked = platform
        .provider
        .get_vm(vm.cluster, &vm.observed.namespace, &vm.observed.name)
        .await;
    let Ok(Some(now)) = looked else { return };
    let status = now.condition.status(vm.status == VmStatus::Running);
    let written = async {
        let mut uow = platform.begin().await?;
        uow.adoptions().catch_up(vm.id, &now, status, platform.now()).await?;
        uow.commit().await
    };
    if let Err(error) = written.await {
        tracing::warn!(vm_id = %vm.id, error = &error as &dyn std::error::Error, "an adopted machine could not catch up");
    }
}
