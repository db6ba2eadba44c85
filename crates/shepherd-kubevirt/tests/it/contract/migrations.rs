//! Live migrations.

use shepherd_domain::infrastructure::{Migration, MigrationPhase};
use shepherd_ports::providers::{InfrastructureProvider, MigrationProvider, MigrationRequest, ProviderError};

use crate::lab::{CLUSTER, Subject, eventually};
use crate::requests::migration_of;

const NAME: &str = "web-01";
const MOVE: &str = "move-1";

/// The machine runs where somebody starts machines, because only a running one can be moved. Elsewhere nobody looks.
async fn with_machine(subject: Subject) -> Subject {
    let subject = subject.with_namespace().await;
    subject.start(NAME).await;
    subject
}

fn request(subject: &Subject, event: &str) -> MigrationRequest {
    migration_of(&subject.namespace, NAME, MOVE, event)
}

async fn migrate(subject: &Subject, event: &str) -> Result<Migration, ProviderError> {
    subject.provider.migrate_vm(CLUSTER, &request(subject, event)).await
}

async fn read(subject: &Subject) -> Option<Migration> {
    let found = subject
        .provider
        .get_vm_migration(CLUSTER, &subject.namespace, MOVE)
        .await;
    found.expect("the migration can be read")
}

async fn node(subject: &Subject) -> Option<String> {
    let found = subject.provider.get_vm(CLUSTER, &subject.namespace, NAME).await;
    found.expect("the machine can be read").and_then(|vm| vm.node)
}

pub async fn an_absent_migration_is_none(subject: Subject) {
    assert_eq!(read(&subject).await, None, "nor in a namespace that does not exist");
    let subject = subject.with_namespace().await;
    assert_eq!(read(&subject).await, None);
}

pub async fn a_migration_can_be_read(subject: Subject) {
    let subject = with_machine(subject).await;
    let made = migrate(&subject, "e-1").await.expect("the machine can be moved");
    assert_eq!((made.name.as_str(), made.vm.as_str()), (MOVE, NAME));
    assert_eq!(made.event_id.as_deref(), Some("e-1"));
    assert_eq!((made.phase, made.error.as_deref()), (MigrationPhase::Pending, None));
    let found = read(&subject).await.expect("it is there");
    assert_eq!(
        (found.uid, found.vm, found.event_id),
        (made.uid, made.vm, made.event_id)
    );
}

pub async fn a_migration_is_made_once_per_event(subject: Subject) {
    let subject = with_machine(subject).await;
    let first = migrate(&subject, "e-1").await.expect("the machine can be moved");
    let second = migrate(&subject, "e-1").await.expect("it can be asked for again");
    assert_eq!(first.uid, second.uid);
    let all = subject
        .provider
        .list_migrations(CLUSTER, &subject.namespace, None)
        .await;
    assert_eq!(all.expect("migrations can be listed").len(), 1);
}

pub async fn a_migration_of_another_event_is_not_ours(subject: Subject) {
    let subject = with_machine(subject).await;
    let first = migrate(&subject, "e-1").await.expect("the machine can be moved");
    let refusal = migrate(&subject, "e-2").await;
    assert!(matches!(refusal, Err(ProviderError::AlreadyExists(_))), "{refusal:?}");
    assert_eq!(read(&subject).await.map(|found| found.uid), Some(first.uid));
}

pub async fn migrations_of_one_machine_are_listed(subject: Subject) {
    let subject = with_machine(subject).await;
    subject.start("web-02").await;
    let (provider, namespace) = (&subject.provider, subject.namespace.as_str());
    for (vm, name) in [("web-02", "zebra"), (NAME, "ant")] {
        let request = migration_of(namespace, vm, name, "e-1");
        provider
            .migrate_vm(CLUSTER, &request)
            .await
            .expect("the machine can be moved");
    }
    let list = |vm: Option<&'static str>| async move {
        let found = provider.list_migrations(CLUSTER, namespace, vm).await;
        let found = found.expect("migrations can be listed");
        found.into_iter().map(|migration| migration.name).collect::<Vec<_>>()
    };
    assert_eq!(list(None).await, ["ant", "zebra"]);
    assert_eq!(list(Some(NAME)).await, ["ant"]);
    assert!(list(Some("web-03")).await.is_empty());
}

pub async fn a_migration_can_be_called_off_twice(subject: Subject) {
    let subject = with_machine(subject).await;
    migrate(&subject, "e-1").await.expect("the machine can be moved");
    let cancel = || subject.provider.cancel_migration(CLUSTER, &subject.namespace, MOVE);
    assert_eq!(cancel().await, Ok(()));
    let subject = &subject;
    eventually("the migration is gone", move || async move {
        match read(subject).await {
            None => true,
            Some(found) => {
                assert!(found.phase.is_final(), "{found:?}");
                false
            }
        }
    })
    .await;
    assert_eq!(cancel().await, Ok(()), "absence is success");
}

pub async fn a_machine_that_does_not_run_is_not_moved(subject: Subject) {
    let subject = subject.with_namespace().await;
    subject
        .apply(&crate::documents::Plan::new(&subject.namespace, NAME))
        .await;
    let refusal = migrate(&subject, "e-1").await;
    assert!(
        matches!(
            refusal,
            Err(ProviderError::Invalid { .. }
                | ProviderError::Forbidden(_)
                | ProviderError::Conflict(_)
                | ProviderError::NotFound(_))
        ),
        "{refusal:?}"
    );
    assert_eq!(read(&subject).await, None);
}

pub async fn a_moved_machine_runs_elsewhere(subject: Subject) {
    let subject = with_machine(subject).await;
    let before = node(&subject).await.expect("a running machine has a node");
    migrate(&subject, "e-1").await.expect("the machine can be moved");
    let subject = &subject;
    eventually("the migration ends", move || async move {
        read(subject).await.is_some_and(|found| found.phase.is_final())
    })
    .await;
    let ended = read(subject).await.expect("it is there");
    assert_eq!((ended.phase, ended.error), (MigrationPhase::Succeeded, None));
    assert_eq!(ended.source_node.as_ref(), Some(&before));
    assert!(ended.target_node.is_some() && ended.target_node != ended.source_node);
    let target = &ended.target_node;
    eventually("the machine is on the target", move || async move {
        node(subject).await == *target
    })
    .await;
}
