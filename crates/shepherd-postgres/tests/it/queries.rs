//! Every query decodes, with rows in every table it reads.

mod people;

use serde_json::json;
use shepherd_domain::Environment;
use shepherd_domain::access::Visibility;
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::cluster::{ClusterFacts, ClusterStatus, StorageClass};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::EventStatus;
use shepherd_domain::ids::ServiceId;
use shepherd_domain::page::PageRequest;
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::clusters::{ClusterQueries, HealthResult};
use shepherd_ports::events::{EventAudience, EventFilter, EventQueries};
use shepherd_ports::health::StoreHealth;
use shepherd_ports::identity::IdentityQueries;
use shepherd_ports::leases::LeaseStore;
use shepherd_ports::namespaces::NamespaceQueries;
use shepherd_ports::secrets::{SecretName, SecretStore};
use shepherd_ports::services::ServiceQueries;
use shepherd_ports::sizes::SizeQueries;
use shepherd_ports::systems::{Changed, NameOrCreated, SystemQueries, TextsPatch};
use shepherd_ports::templates::{TemplateFilter, TemplateQueries};
use shepherd_ports::tickets::{TicketFilter, TicketQueries};
use shepherd_ports::vms::{NewRevision, VmQueries};

use uuid::Uuid;

use crate::TestResult;
use crate::world::{World, at, id, system_actor, template};

const PAGE: fn() -> PageRequest = PageRequest::default;

#[tokio::test]
async fn systems_services_and_namespaces_are_read_with_what_belongs_to_them() -> TestResult {
    let world = World::create().await?;
    world.vm().await?;
    let store = &world.store;

    let system = store.get_system(world.system).await?.ok_or("no system")?;
    assert_eq!(
        (
            system.name.as_str(),
            system.service_count,
            system.created_by_name.as_deref()
        ),
        ("shop", 1, Some("Rita"))
    );
    for sort in [NameOrCreated::Name, NameOrCreated::CreatedAt] {
        for descending in [false, true] {
            let found = store
                .list_systems(&Visibility::Everything, Some("SYSTEM"), sort, descending, PAGE())
                .await?;
            assert_eq!(found.total, 1);
        }
    }
    let service = store
        .get_service(world.system, world.service)
        .await?
        .ok_or("no service")?;
    assert_eq!((service.vm_count, service.next_instance_index), (1, 2));
    assert_eq!(
        store
            .list_services(world.system, Some("red"), PAGE())
            .await?
            .items
            .len(),
        1
    );
    assert!(store.get_service(id(), world.service).await?.is_none());

    let namespace = store.get_namespace(world.namespace).await?.ok_or("no namespace")?;
    assert_eq!(namespace.vm_count, 1);
    assert_eq!(store.list_namespaces(EnvironmentSet::ALL, None, PAGE()).await?.total, 2);
    assert_eq!(
        store
            .list_namespaces(EnvironmentSet::TEST, Some(Environment::Prod), PAGE())
            .await?
            .total,
        0
    );
    Ok(())
}

#[tokio::test]
async fn texts_change_only_under_the_version_that_was_seen() -> TestResult {
    let world = World::create().await?;
    let patch = TextsPatch {
        description: Some(Some("new".to_owned())),
        documentation: Some(None),
    };
    let mut work = world.begin().await?;
    assert_eq!(
        work.systems().update_texts(world.system, &patch, Some(1)).await?,
        Changed::Yes
    );
    let stale = work
        .systems()
        .update_texts(world.system, &TextsPatch::default(), Some(1))
        .await?;
    assert_eq!(stale, Changed::VersionMismatch { current: 2 });
    assert_eq!(work.services().update_texts(id(), &patch, None).await?, Changed::Gone);
    assert_eq!(
        work.services().update_texts(world.service, &patch, None).await?,
        Changed::Yes
    );
    let closed = shepherd_ports::namespaces::NamespacePatch {
        enabled: Some(false),
        ..Default::default()
    };
    assert_eq!(
        work.namespaces().update(world.namespace, &closed, None).await?,
        Changed::Yes
    );
    let held = work.namespaces().hold("dev").await?.ok_or("no namespace")?;
    assert!(!held.enabled);
    let held = work.tickets().hold_references(world.service, "dev").await?;
    assert!(held.service && held.namespace.is_some_and(|namespace| !namespace.enabled));
    let held = work
        .tickets()
        .hold_references(ServiceId::from_uuid(Uuid::nil()), "none")
        .await?;
    assert!(!held.service && held.namespace.is_none());
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn what_is_in_use_is_counted_under_its_lock_and_deleted_otherwise() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    world.submit_create(work.as_mut()).await?;
    world.insert_vm(work.as_mut(), "dev", world.service).await?;
    let service = work
        .services()
        .lock_and_count_use(world.service)
        .await?
        .ok_or("no service")?;
    assert_eq!((service.vm_count, service.pending_request_count), (1, 1));
    let namespace = work
        .namespaces()
        .lock_and_count_use(world.namespace)
        .await?
        .ok_or("no namespace")?;
    assert_eq!((namespace.vm_count, namespace.pending_request_count), (1, 1));
    assert_eq!(work.systems().lock_and_count_services(world.system).await?, Some(1));
    assert!(work.systems().lock_and_count_services(id()).await?.is_none());
    drop(work);

    let mut work = world.begin().await?;
    assert!(work.services().delete(world.service).await?);
    assert!(work.systems().delete(world.system).await?);
    assert!(work.namespaces().delete(world.namespace).await?);
    work.commit().await?;
    assert!(world.store.get_system(world.system).await?.is_none());
    assert!(
        world
            .store
            .holdings(world.requester, at(0))
            .await?
            .memberships
            .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn clusters_are_read_with_their_facts_and_credentials_apart() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let lease = store
        .acquire("health", "a", std::time::Duration::from_secs(60))
        .await?
        .ok_or("no lease")?;
    let facts = ClusterFacts {
        kubernetes_version: "v1.33.1".to_owned(),
        kubevirt_version: Some("1.5.0".to_owned()),
        features: vec!["Snapshot".to_owned()],
        storage_classes: Some(vec![StorageClass {
            name: "fast".to_owned(),
            default: true,
        }]),
        ..ClusterFacts::default()
    };
    let result = HealthResult {
        status: ClusterStatus::Healthy,
        reason: None,
        facts: Some(facts),
        at: at(10),
    };
    let seen = store.get_cluster(world.cluster).await?.ok_or("no cluster")?.seen();
    let mut work = world.begin().await?;
    let before = work.clusters().record_health(&seen, &result, Some(&lease)).await?;
    assert_eq!(before.map(|before| before.status), Some(ClusterStatus::Unknown));
    assert_eq!(
        work.clusters().hold(world.cluster).await?.map(|cluster| cluster.status),
        Some(ClusterStatus::Healthy)
    );
    work.commit().await?;

    let cluster = store.get_cluster(world.cluster).await?.ok_or("no cluster")?;
    assert_eq!(cluster.storage_classes, ["fast"]);
    assert_eq!(cluster.last_healthy_at, Some(at(10)));
    assert_eq!(store.enabled_clusters().await?.len(), 1);
    let listed = store.list_clusters(
        EnvironmentSet::ALL,
        Some(Environment::Test),
        Some(ClusterStatus::Healthy),
        PAGE(),
    );
    assert_eq!(listed.await?.total, 1);
    let credentials = store.sealed_credentials(world.cluster).await?.ok_or("no credentials")?;
    assert_eq!(credentials.sealed, [1, 2, 3]);
    assert_eq!(credentials.version.len(), 64);
    assert_eq!(credentials.concurrency_limit, None);
    assert_eq!(store.sealing_key_ids().await?, ["k1"]);
    Ok(())
}

#[tokio::test]
async fn a_new_active_template_deprecates_the_one_before() -> TestResult {
    let world = World::create().await?;
    let second = id();
    let mut work = world.begin().await?;
    assert_eq!(
        work.templates()
            .insert(&template(second, TemplateStatus::Active)?)
            .await?,
        2
    );
    assert!(work.templates().exists("debian").await?);
    assert!(work.sizes().exists("small").await?);
    assert!(!work.sizes().exists("large").await?);
    work.commit().await?;
    let store = &world.store;
    let first = store.get_template(world.template).await?.ok_or("no template")?;
    assert_eq!(first.status, TemplateStatus::Deprecated);
    assert_eq!(
        store
            .get_template_version("debian", 2)
            .await?
            .map(|template| template.id),
        Some(second)
    );
    let listed = store.list_templates(&TemplateFilter::default(), PAGE()).await?;
    assert_eq!(
        listed.items.iter().map(|template| template.version).collect::<Vec<_>>(),
        [2, 1]
    );
    let active = TemplateFilter {
        status: Some(TemplateStatus::Active),
        ..TemplateFilter::default()
    };
    assert_eq!(store.list_templates(&active, PAGE()).await?.total, 1);
    let size = store.get_size(world.size).await?.ok_or("no size")?;
    assert_eq!(size.size.capabilities, ["gpu:nvidia.com/A10"]);
    assert_eq!(store.list_sizes(true).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_ticket_is_read_by_id_number_and_event_with_its_history() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    let inside = work
        .tickets()
        .find_by_event(submitted.event)
        .await?
        .ok_or("no ticket")?;
    assert_eq!(inside.id, submitted.ticket);
    work.commit().await?;

    let store = &world.store;
    let ticket = store.get_ticket(submitted.ticket).await?.ok_or("no ticket")?;
    assert_eq!(
        (ticket.status, ticket.requester_name.as_deref()),
        (TicketStatus::PendingApproval, Some("Rita"))
    );
    assert!(store.ticket_by_number(&ticket.number).await?.is_some());
    let history = store.ticket_history(submitted.ticket).await?;
    assert_eq!(history.iter().map(|step| step.seq).collect::<Vec<_>>(), [1, 2]);
    let event = store.ticket_event(submitted.event).await?;
    assert_eq!(event, Some((json!({"schema": 1}), EventStatus::Pending)));

    let by_name = TicketFilter {
        requester: Some("RITA".to_owned()),
        ..TicketFilter::default()
    };
    assert_eq!(
        store.list_tickets(EnvironmentSet::ALL, &by_name, PAGE()).await?.total,
        1
    );
    assert_eq!(
        store.list_tickets(EnvironmentSet::EMPTY, &by_name, PAGE()).await?.total,
        0
    );
    assert_eq!(
        store
            .my_tickets(world.requester, &TicketFilter::default(), PAGE())
            .await?
            .total,
        1
    );
    let existing = store
        .pending_create(world.requester, world.service, world.template, world.size, "dev")
        .await?;
    assert_eq!(existing.map(|ticket| ticket.id), Some(submitted.ticket));
    assert!(store.open_vm_operation(id(), "DELETE").await?.is_none());

    let facts = store
        .create_facts(world.service, "dev", world.template, world.size)
        .await?;
    assert_eq!(
        facts.service.map(|service| service.system_name),
        Some("shop".to_owned())
    );
    assert!(facts.namespace.is_some() && facts.template.is_some() && facts.size.is_some());
    let nothing = store.create_facts(id(), "nowhere", id(), id()).await?;
    assert!(nothing.service.is_none() && nothing.namespace.is_none());
    assert!(nothing.template.is_none() && nothing.size.is_none());
    Ok(())
}

#[tokio::test]
async fn events_and_tasks_are_shown_to_their_audience_only() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    work.commit().await?;
    let store = &world.store;
    let nobody = EventAudience {
        user: id(),
        vms: Visibility::Limited(Default::default()),
        systems: Visibility::Limited(Default::default()),
        approvals: EnvironmentSet::EMPTY,
    };
    let requester = EventAudience {
        user: world.requester,
        ..nobody.clone()
    };
    let approver = EventAudience {
        user: world.approver,
        approvals: EnvironmentSet::TEST,
        ..nobody.clone()
    };
    let admin = EventAudience {
        vms: Visibility::Everything,
        systems: Visibility::Everything,
        ..nobody.clone()
    };
    for (audience, sees) in [(&nobody, false), (&requester, true), (&approver, true), (&admin, true)] {
        assert_eq!(
            store.get_event(audience, submitted.event).await?.is_some(),
            sees,
            "{audience:?}"
        );
        assert_eq!(
            store.get_task(audience, submitted.event).await?.is_some(),
            sees,
            "{audience:?}"
        );
        let listed = store.list_events(audience, &EventFilter::default(), PAGE()).await?;
        assert_eq!(listed.total, u64::from(sees), "{audience:?}");
    }
    let tasks = store
        .list_tasks(world.requester, Some(EventStatus::Pending), None, false, PAGE())
        .await?;
    let task = tasks.items.first().ok_or("no task")?;
    assert_eq!(
        (task.ticket_id, task.attempt, task.started_at),
        (Some(submitted.ticket), 0, None)
    );
    Ok(())
}

#[tokio::test]
async fn a_revision_is_added_only_when_the_content_changed() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    let revision = |sha256: &str| NewRevision {
        id: id(),
        vm_id: vm,
        vm_name: "dev-shop-redis-01".to_owned(),
        snapshot: vec![0x28, 0xb5],
        sha256: sha256.to_owned(),
        reason: None,
        ticket_id: None,
        changed_by: system_actor(),
    };
    let mut work = world.begin().await?;
    assert_eq!(work.vms().add_revision(&revision("a")).await?, Some(1));
    assert_eq!(work.vms().add_revision(&revision("a")).await?, None);
    assert_eq!(work.vms().add_revision(&revision("b")).await?, Some(2));
    work.vms().set_uid(vm, "u1").await?;
    work.vms().set_uid(vm, "u2").await?;
    work.commit().await?;
    let expected = world.store.expected_on(world.cluster).await?;
    assert_eq!(expected.iter().map(|vm| vm.uid.as_str()).collect::<Vec<_>>(), ["u2"]);
    assert!(
        world
            .store
            .get_vm(vm)
            .await?
            .is_some_and(|vm| vm.system_name == "shop" && !vm.ticket_failed)
    );
    Ok(())
}

#[tokio::test]
async fn the_store_answers_and_every_replica_gets_the_same_secret() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    store.ping().await?;
    assert!(store.pending_migrations().await?.is_empty());
    let first = store
        .load_or_create(SecretName::SessionSecret, "one".to_owned().into())
        .await?;
    let second = store
        .load_or_create(SecretName::SessionSecret, "two".to_owned().into())
        .await?;
    assert_eq!((first.as_str(), second.as_str()), ("one", "one"));
    Ok(())
}
