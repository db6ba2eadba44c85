//! What an operation is asked of: a machine in a namespace and a Service of its own.

use serde_json::Value;
use shepherd_domain::ids::{MigrationId, SnapshotId, VmId};
use shepherd_usecases::clone::create::CloneMachine;
use shepherd_usecases::confirmation::Confirmation;
use shepherd_usecases::execution::steps::Step;
use shepherd_usecases::vm::power::{self, PowerAction};
use shepherd_usecases::vm::request_modification::{self, RequestModification};
use shepherd_usecases::vm::{Submitted, SubmittedStatus, request_deletion};
use shepherd_usecases::{clone, migration, snapshot};

use crate::in_process::InProcess;
use crate::server::{PATIENCE, eventually};

/// What is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Modify,
    Delete,
    Start,
    Stop,
    Restart,
    Snapshot,
    DeleteSnapshot,
    Restore,
    Clone,
    Migrate,
    CallMigrationOff,
}

/// A request that was approved and whose job has not run.
pub struct Stage {
    /// Name of the namespace and of the Service; no two stages share it, and all names have one length.
    pub name: String,
    pub asked: Submitted,
    /// The machine is held on the cluster, so that what it is asked for does not end.
    frozen: bool,
}

impl Stage {
    /// Prepares a machine, and asks for the operation.
    pub async fn set(world: &InProcess, operation: Operation, number: u32) -> Self {
        let name = format!("stage-{number:04}");
        let service = world.place(&name).await;
        let asked = world.request_vm(service, &name).await.expect("a request");
        let mut frozen = false;
        let asked = if operation == Operation::Create {
            asked
        } else {
            approved(world, &asked).await;
            world.finish(&asked).await;
            let machine = Machine::of(world, &name).await;
            machine.settle().await;
            frozen = operation == Operation::CallMigrationOff;
            machine.ask(operation).await
        };
        if asked.status == SubmittedStatus::PendingApproval {
            approved(world, &asked).await;
        }
        Self { name, asked, frozen }
    }

    /// Waits until the cluster has done what it does by itself.
    pub async fn settle(&self, world: &InProcess) {
        let cluster = world.simulator.cluster();
        if self.frozen {
            cluster.thaw(&self.name, &machine_name(&self.name));
        }
        eventually("every machine is as it is to be", PATIENCE, async || {
            let machines = cluster.list("VirtualMachine", &self.name);
            machines.iter().all(is_settled).then_some(())
        })
        .await;
    }
}

async fn approved(world: &InProcess, asked: &Submitted) {
    world.approve(asked.ticket_id).await.expect("an approval");
}

/// The name of the first machine of a stage.
fn machine_name(stage: &str) -> String {
    format!("{stage}-shop-{stage}-01")
}

fn is_settled(machine: &Value) -> bool {
    let wanted = match machine["spec"]["runStrategy"].as_str() {
        Some("Halted") => "Stopped",
        _ => "Running",
    };
    machine["status"]["printableStatus"] == wanted
}

/// A machine that runs.
struct Machine<'a> {
    world: &'a InProcess,
    stage: &'a str,
    id: VmId,
}

impl<'a> Machine<'a> {
    async fn of(world: &'a InProcess, stage: &'a str) -> Self {
        let id = world
            .text(&format!("SELECT id::text FROM vms WHERE namespace = '{stage}'"))
            .await;
        Self {
            world,
            stage,
            id: id.parse().expect("an id"),
        }
    }

    /// Waits for the cluster, and tells the row; nobody watches here.
    async fn settle(&self) {
        let (cluster, name) = (self.world.simulator.cluster(), machine_name(self.stage));
        let status = eventually("the machine is as it is to be", PATIENCE, async || {
            let machine = cluster.get("VirtualMachine", self.stage, &name)?;
            is_settled(&machine).then(|| machine["status"]["printableStatus"].clone())
        })
        .await;
        let status = if status == "Stopped" { "STOPPED" } else { "RUNNING" };
        let told = format!("UPDATE vms SET status = '{status}' WHERE id = '{}'", self.id);
        self.world.change(&told).await;
    }

    async fn ask(&self, operation: Operation) -> Submitted {
        match operation {
            Operation::Create => unreachable!("a creation is asked for without a machine"),
            Operation::Modify => self.modify().await,
            Operation::Delete => {
                self.snapshot_done().await;
                self.delete().await
            }
            Operation::Start => {
                self.stopped().await;
                self.power(PowerAction::Start).await
            }
            Operation::Stop => self.power(PowerAction::Stop).await,
            Operation::Restart => self.power(PowerAction::Restart).await,
            Operation::Snapshot => self.snapshot().await,
            Operation::DeleteSnapshot => {
                let snapshot = self.snapshot_done().await;
                self.delete_snapshot(snapshot).await
            }
            Operation::Restore => {
                let snapshot = self.snapshot_done().await;
                self.stopped().await;
                self.restore(snapshot).await
            }
            Operation::Clone => self.copy().await,
            Operation::Migrate => self.migrate().await,
            Operation::CallMigrationOff => self.called_off().await,
        }
    }

    async fn modify(&self) -> Submitted {
        let wanted = RequestModification {
            size: Some(self.world.medium),
            disk_gb: Some(45),
            reason: "more room".to_owned(),
        };
        let world = self.world;
        let asked =
            request_modification::execute(&world.platform, &world.operations, &world.admin, self.id, wanted, None)
                .await;
        asked.expect("a request").outcome
    }

    async fn delete(&self) -> Submitted {
        let world = self.world;
        let asked = request_deletion::execute(
            &world.platform,
            &world.operations,
            &world.admin,
            self.id,
            &confirmed(),
            None,
        )
        .await;
        asked.expect("a request")
    }

    async fn power(&self, action: PowerAction) -> Submitted {
        let world = self.world;
        let asked = power::execute(
            &world.platform,
            &world.operations,
            &world.admin,
            self.id,
            action,
            None,
            None,
        )
        .await;
        asked.expect("a request").outcome
    }

    async fn stopped(&self) {
        let asked = self.power(PowerAction::Stop).await;
        self.world.finish(&asked).await;
        self.settle().await;
    }

    async fn snapshot(&self) -> Submitted {
        let world = self.world;
        let asked = snapshot::create::execute(
            &world.platform,
            &world.operations,
            &world.admin,
            self.id,
            "before".to_owned(),
            None,
            None,
        )
        .await;
        asked.expect("a request").outcome
    }

    async fn snapshot_done(&self) -> SnapshotId {
        let asked = self.snapshot().await;
        self.world.finish(&asked).await;
        let id = format!("SELECT id::text FROM vm_snapshots WHERE vm_id = '{}'", self.id);
        self.world.text(&id).await.parse().expect("an id")
    }

    async fn delete_snapshot(&self, id: SnapshotId) -> Submitted {
        let world = self.world;
        let asked = snapshot::delete::execute(&world.platform, &world.operations, &world.admin, id, &confirmed()).await;
        asked.expect("a request")
    }

    async fn restore(&self, id: SnapshotId) -> Submitted {
        let world = self.world;
        let asked = snapshot::restore::execute(&world.platform, &world.operations, &world.admin, id, None, None).await;
        asked.expect("a request").outcome
    }

    async fn copy(&self) -> Submitted {
        let world = self.world;
        let wanted = CloneMachine {
            service: None,
            start: true,
            reason: "a copy".to_owned(),
        };
        let asked =
            clone::create::execute(&world.platform, &world.operations, &world.admin, self.id, wanted, None).await;
        asked.expect("a request").outcome
    }

    async fn migrate(&self) -> Submitted {
        let world = self.world;
        let asked =
            migration::create::execute(&world.platform, &world.operations, &world.admin, self.id, None, None).await;
        asked.expect("a request").outcome
    }

    /// A migration that is under way and was called off; its job is to find that out.
    async fn called_off(&self) -> Submitted {
        let world = self.world;
        world.simulator.cluster().freeze(self.stage, &machine_name(self.stage));
        let asked = self.migrate().await;
        world.die_at(asked.event_id, Step::MigrationNoted).await;
        let id = format!(
            "SELECT id::text FROM vm_migrations WHERE ticket_id = '{}'",
            asked.ticket_id
        );
        let id: MigrationId = world.text(&id).await.parse().expect("an id");
        let called_off = migration::cancel::execute(&world.platform, &world.admin, id, None).await;
        called_off.expect("the migration is called off");
        asked
    }
}

fn confirmed() -> Confirmation {
    Confirmation {
        confirm: true,
        confirm_name: None,
    }
}
