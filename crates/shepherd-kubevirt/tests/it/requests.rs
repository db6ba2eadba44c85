//! What events ask clusters for: snapshots, restores, clones, migrations.

use shepherd_domain::infrastructure::Marks;
use shepherd_domain::labels;
use shepherd_ports::providers::{CloneRequest, MigrationRequest, RestoreRequest, SnapshotRequest};

/// The marks of an event.
pub fn marks(event: &str) -> Marks {
    Marks {
        labels: [(labels::MANAGED_BY.to_owned(), labels::MANAGER.to_owned())].into(),
        annotations: [(labels::EVENT.to_owned(), event.to_owned())].into(),
    }
}

/// A snapshot of a machine, asked for by an event.
pub fn snapshot_of(namespace: &str, vm: &str, name: &str, event: &str) -> SnapshotRequest {
    SnapshotRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        vm: vm.to_owned(),
        marks: marks(event),
    }
}

/// A restore of a machine from a snapshot, asked for by an event.
pub fn restore_of(namespace: &str, vm: &str, snapshot: &str, name: &str, event: &str) -> RestoreRequest {
    RestoreRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        vm: vm.to_owned(),
        snapshot: snapshot.to_owned(),
        marks: marks(event),
    }
}

/// A clone under a name, asked for by an event.
pub fn clone_to(namespace: &str, target: &str, name: &str, event: &str) -> CloneRequest {
    CloneRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        target: target.to_owned(),
        marks: marks(event),
    }
}

/// A migration of a machine, asked for by an event.
pub fn migration_of(namespace: &str, vm: &str, name: &str, event: &str) -> MigrationRequest {
    MigrationRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        vm: vm.to_owned(),
        marks: marks(event),
    }
}
