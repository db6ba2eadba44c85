//! What clusters report becomes the state of rows: in order, for the right object, under a lease.

use std::time::Duration;

use shepherd_domain::ids::VmId;
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::vm::{OBJECT_MISSING, ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::leases::{Lease, LeaseStore};
use shepherd_ports::vms::{Projected, VmQueries, VmRecord};

use crate::TestResult;
use crate::world::{Outcome, World, at};

struct Watch {
    world: World,
    vm: VmId,
    row: VmRecord,
    lease: Lease,
}

impl Watch {
    async fn begin() -> Outcome<Self> {
        let world = World::create().await?;
        let vm = world.vm().await?;
        let row = world.store.get_vm(vm).await?.ok_or("no machine")?;
        let lease = world
            .store
            .acquire("watch", "a", Duration::from_secs(60))
            .await?
            .ok_or("no lease")?;
        Ok(Self { world, vm, row, lease })
    }

    fn observed(&self, resource_version: u64, condition: ObservedCondition) -> ObservedVm {
        ObservedVm {
            name: self.row.name.clone(),
            namespace: self.row.namespace.clone(),
            uid: "u1".to_owned(),
            resource_version,
            condition,
            reason: None,
            message: None,
            run_strategy: None,
            vmi_uid: None,
            node: None,
            ip: None,
            restart_required: false,
            event_id: None,
            vm_id: Some(self.vm.to_string()),
            managed: true,
            created_at: None,
        }
    }

    async fn see(&self, observed: &ObservedVm) -> Outcome<Option<Projected>> {
        let mut work = self.world.begin().await?;
        let projected = work
            .vms()
            .project(self.world.cluster, observed, at(100), &self.lease)
            .await?;
        work.commit().await?;
        Ok(projected)
    }

    async fn see_absence(&self, uid: &str) -> Outcome<Option<Projected>> {
        let mut work = self.world.begin().await?;
        let VmRecord { namespace, name, .. } = &self.row;
        let projected = work
            .vms()
            .project_absence(self.world.cluster, namespace, name, uid, at(200), &self.lease)
            .await?;
        work.commit().await?;
        Ok(projected)
    }

    async fn status(&self) -> Outcome<VmStatus> {
        Ok(self.world.store.get_vm(self.vm).await?.ok_or("no machine")?.status)
    }

    /// Approves a deletion, so that its ticket is open and the row DELETING.
    async fn approve_deletion(&self) -> Outcome<()> {
        let mut work = self.world.begin().await?;
        let submitted = self.world.submit_delete(work.as_mut(), self.vm).await?;
        let approve = TicketStatus::PendingApproval.approve()?;
        assert!(
            work.tickets()
                .approve(submitted.ticket, approve, &self.world.approval())
                .await?
        );
        let status = work.vms().find(self.vm).await?.ok_or("no machine")?.status;
        assert!(
            work.vms()
                .transition(self.vm, status.delete(false)?, None, None)
                .await?
        );
        work.commit().await?;
        Ok(())
    }
}

const RUNNING: ObservedCondition = ObservedCondition::Is(VmStatus::Running);
const STOPPED: ObservedCondition = ObservedCondition::Is(VmStatus::Stopped);

#[tokio::test]
async fn the_first_running_is_told_once_and_makes_waiting_mean_pending() -> TestResult {
    let watch = Watch::begin().await?;
    assert!(
        watch
            .see(&watch.observed(1, ObservedCondition::Waiting))
            .await?
            .is_some(),
        "the uid is new"
    );
    assert_eq!(watch.status().await?, VmStatus::Creating);
    let running = watch.see(&watch.observed(2, RUNNING)).await?.ok_or("nothing changed")?;
    assert!(running.first_running);
    assert_eq!(
        (running.before, running.after, running.system),
        (VmStatus::Creating, VmStatus::Running, watch.world.system)
    );
    watch.see(&watch.observed(3, ObservedCondition::Waiting)).await?;
    assert_eq!(watch.status().await?, VmStatus::Pending);
    let again = watch.see(&watch.observed(4, RUNNING)).await?.ok_or("nothing changed")?;
    assert!(!again.first_running);
    Ok(())
}

#[tokio::test]
async fn an_observation_that_changes_nothing_is_not_written() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(5, RUNNING)).await?;
    let version = watch
        .world
        .store
        .get_vm(watch.vm)
        .await?
        .ok_or("no machine")?
        .row_version;
    assert_eq!(watch.see(&watch.observed(6, RUNNING)).await?, None);
    let after = watch
        .world
        .store
        .get_vm(watch.vm)
        .await?
        .ok_or("no machine")?
        .row_version;
    assert_eq!(version, after);
    Ok(())
}

#[tokio::test]
async fn older_observations_and_other_objects_are_ignored() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(10, RUNNING)).await?;
    assert_eq!(
        watch.see(&watch.observed(9, STOPPED)).await?,
        None,
        "older, and not greater as text either"
    );
    let other_object = ObservedVm {
        uid: "u2".to_owned(),
        ..watch.observed(11, STOPPED)
    };
    assert_eq!(watch.see(&other_object).await?, None);
    let other_row = ObservedVm {
        vm_id: Some(watch.world.system.to_string()),
        ..watch.observed(11, STOPPED)
    };
    assert_eq!(watch.see(&other_row).await?, None);
    let no_row = ObservedVm {
        vm_id: Some("nonsense".to_owned()),
        ..watch.observed(11, STOPPED)
    };
    assert_eq!(watch.see(&no_row).await?, None);
    assert_eq!(watch.status().await?, VmStatus::Running);
    let unannotated = ObservedVm {
        vm_id: None,
        ..watch.observed(11, STOPPED)
    };
    assert!(watch.see(&unannotated).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_once_the_lease_is_lost() -> TestResult {
    let watch = Watch::begin().await?;
    watch.world.store.release(&watch.lease).await?;
    assert_eq!(watch.see(&watch.observed(1, RUNNING)).await?, None);
    watch
        .world
        .store
        .acquire("watch", "b", Duration::from_secs(60))
        .await?
        .ok_or("no lease")?;
    assert_eq!(watch.see(&watch.observed(1, RUNNING)).await?, None);
    assert_eq!(watch.status().await?, VmStatus::Creating);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_is_being_deleted_stays_deleting_while_its_ticket_is_open() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(1, RUNNING)).await?;
    watch.approve_deletion().await?;
    assert_eq!(watch.see(&watch.observed(2, STOPPED)).await?, None);
    assert_eq!(watch.see_absence("u1").await?, None);
    assert_eq!(watch.status().await?, VmStatus::Deleting);
    Ok(())
}

#[tokio::test]
async fn a_missing_object_makes_its_row_unknown_until_it_is_seen_again() -> TestResult {
    let watch = Watch::begin().await?;
    watch.see(&watch.observed(7, RUNNING)).await?;
    assert_eq!(watch.see_absence("u2").await?, None);
    let missing = watch.see_absence("u1").await?.ok_or("nothing changed")?;
    assert_eq!(
        (missing.after, missing.reason.as_deref()),
        (VmStatus::Unknown, Some(OBJECT_MISSING))
    );
    assert_eq!(watch.see_absence("u1").await?, None);
    let back = watch.see(&watch.observed(7, RUNNING)).await?.ok_or("nothing changed")?;
    assert_eq!(back.before, VmStatus::Unknown);
    Ok(())
}
