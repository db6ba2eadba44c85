//! The workbench: which tickets it shows, in which order and of which urgency, and what is read about them.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::ConnectionTrait as _;
use shepherd_domain::Environment;
use shepherd_domain::access::{Permission, ResourceRole, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ServiceId, SystemId, UserId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::ticket::{PriorityTier, RequestType};
use shepherd_ports::identity::NewRole;
use shepherd_ports::workbench::{TicketReferences, TierCounts, WorkbenchFilter, WorkbenchQueries as _, WorkbenchView};
use uuid::Uuid;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_binding, insert_service, insert_system, system_actor};

const DAY: TimeDelta = TimeDelta::days(1);
const SECOND: TimeDelta = TimeDelta::seconds(1);

/// A ticket about some machine, in test and pending unless it says otherwise. Its id ends with its number.
struct Row<'a> {
    number: u32,
    age: TimeDelta,
    environment: &'a str,
    namespace: &'a str,
    request_type: &'a str,
    status: &'a str,
    requester: UserId,
    /// An array of SQL.
    approvers: String,
    parent: Option<u32>,
}

fn ticket_id(number: u32) -> Uuid {
    Uuid::from_u128(0x0180_0000_0000_7000_8000_0000_0000_0000 | u128::from(number))
}

fn now() -> DateTime<Utc> {
    at(0)
}

impl<'a> Row<'a> {
    fn new(world: &World, number: u32, age: TimeDelta) -> Row<'a> {
        Row {
            number,
            age,
            environment: "test",
            namespace: "dev",
            request_type: "STOP_VM",
            status: "PENDING_APPROVAL",
            requester: world.requester,
            approvers: "'{}'".to_owned(),
            parent: None,
        }
    }

    async fn insert(&self, world: &World) -> Outcome<()> {
        let Row {
            number,
            environment,
            namespace,
            request_type,
            status,
            requester,
            approvers,
            ..
        } = self;
        let ticket = ticket_id(*number);
        let created = (now() - self.age).to_rfc3339();
        let parent = match self.parent {
            Some(parent) => format!("'{}', {number}", ticket_id(parent)),
            None => "NULL, NULL".to_owned(),
        };
        let sql = format!(
            "INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, environment, \
                 created_by, created_at) \
             VALUES ('{ticket}', 'VM_STOP_REQUESTED', 'vm', '{ticket}', '{{}}', 'PENDING', '{environment}', \
                 '{requester}', '{created}'); \
             INSERT INTO approval_tickets (id, event_id, request_type, status, environment, requester_id, vm_id, \
                 namespace, context_snapshot, eligible_approvers, parent_ticket_id, sequence_no, created_at) \
             VALUES ('{ticket}', '{ticket}', '{request_type}', '{status}', '{environment}', '{requester}', '{ticket}', \
                 '{namespace}', '{{}}', {approvers}, {parent}, '{created}')"
        );
        world.store.connection().execute_unprepared(&sql).await?;
        Ok(())
    }
}

fn view(user: UserId) -> WorkbenchView {
    WorkbenchView {
        user,
        visible: EnvironmentSet::ALL,
        now: now(),
    }
}

/// The numbers of the tickets of the first page, and the counts.
async fn shown(world: &World, view: WorkbenchView, filter: &WorkbenchFilter) -> Outcome<(Vec<u32>, TierCounts)> {
    let (page, counts) = world.store.workbench(&view, filter, PageRequest::default()).await?;
    assert_eq!(page.total, counts.total());
    let numbers = page
        .items
        .iter()
        .map(|ticket| u32::try_from(ticket.id.as_uuid().as_u128() & 0xffff_ffff))
        .collect::<Result<_, _>>()?;
    Ok((numbers, counts))
}

fn counts(normal: u64, warning: u64, urgent: u64) -> TierCounts {
    TierCounts {
        normal,
        warning,
        urgent,
    }
}

#[tokio::test]
async fn the_oldest_come_first_and_whole_days_make_the_tiers() -> TestResult {
    let world = World::create().await?;
    let ages = [
        (1, TimeDelta::zero()),
        (2, DAY * 4 - SECOND),
        (3, DAY * 4),
        (4, DAY * 7 - SECOND),
        // Equally old: the id decides.
        (6, DAY * 7),
        (5, DAY * 7),
    ];
    for (number, age) in ages {
        Row::new(&world, number, age).insert(&world).await?;
    }
    let parent = Row {
        request_type: "BATCH_POWER",
        ..Row::new(&world, 7, DAY)
    };
    parent.insert(&world).await?;
    let child = Row {
        parent: Some(7),
        ..Row::new(&world, 8, DAY * 9)
    };
    child.insert(&world).await?;
    let batch = "INSERT INTO batch_approval_tickets \
             (id, number, batch_type, environment, child_count, pending_count, power_action, request_hash, created_by) \
         SELECT t.id, next_batch_number(now()), 'BATCH_POWER', t.environment, 1, 1, 'STOP', 'hash', 'somebody' \
         FROM approval_tickets t WHERE t.request_type = 'BATCH_POWER'";
    world.store.connection().execute_unprepared(batch).await?;
    let withdrawn = Row {
        status: "CANCELLED",
        ..Row::new(&world, 9, DAY * 9)
    };
    withdrawn.insert(&world).await?;

    let all = shown(&world, view(world.approver), &WorkbenchFilter::default()).await?;
    assert_eq!(all, (vec![5, 6, 4, 3, 2, 7, 1], counts(3, 2, 2)));
    let mut by_tier = Vec::new();
    for tier in [PriorityTier::Normal, PriorityTier::Warning, PriorityTier::Urgent] {
        let filter = WorkbenchFilter {
            tier: Some(tier),
            ..WorkbenchFilter::default()
        };
        by_tier.push(shown(&world, view(world.approver), &filter).await?);
    }
    let expected = [
        (vec![2, 7, 1], counts(3, 0, 0)),
        (vec![4, 3], counts(0, 2, 0)),
        (vec![5, 6], counts(0, 0, 2)),
    ];
    assert_eq!(by_tier, expected);
    Ok(())
}

#[tokio::test]
async fn filters_environments_and_named_approvers_narrow_it() -> TestResult {
    let world = World::create().await?;
    Row::new(&world, 1, DAY).insert(&world).await?;
    let prod = Row {
        environment: "prod",
        namespace: "live",
        request_type: "DELETE_VM",
        requester: world.approver,
        ..Row::new(&world, 2, DAY)
    };
    prod.insert(&world).await?;
    let named = [
        (3, format!("ARRAY['{}']", world.approver)),
        (4, "ARRAY['role-approver']".to_owned()),
        (5, format!("ARRAY['{}', 'role-auditor']", id::<UserId>())),
    ];
    for (number, approvers) in named {
        let row = Row {
            approvers,
            ..Row::new(&world, number, DAY)
        };
        row.insert(&world).await?;
    }

    let approver = view(world.approver);
    let everything = WorkbenchFilter::default();
    let numbers = async |view: WorkbenchView, filter: &WorkbenchFilter| {
        shown(&world, view, filter).await.map(|(numbers, _)| numbers)
    };
    assert_eq!(numbers(approver, &everything).await?, [1, 2, 3, 4]);
    assert_eq!(numbers(view(world.requester), &everything).await?, [1, 2]);
    for (visible, expected) in [(EnvironmentSet::TEST, vec![1, 3, 4]), (EnvironmentSet::EMPTY, vec![])] {
        let limited = WorkbenchView { visible, ..approver };
        assert_eq!(numbers(limited, &everything).await?, expected);
    }
    let only_prod = [
        WorkbenchFilter {
            environment: Some(Environment::Prod),
            ..everything.clone()
        },
        WorkbenchFilter {
            request_types: Some(vec![RequestType::DeleteVm]),
            ..everything.clone()
        },
        WorkbenchFilter {
            requester: Some(world.approver.to_string()),
            ..everything.clone()
        },
        WorkbenchFilter {
            requester: Some("ARNO".to_owned()),
            ..everything.clone()
        },
        WorkbenchFilter {
            namespace: Some("live".to_owned()),
            ..everything.clone()
        },
    ];
    for filter in only_prod {
        let found = shown(&world, approver, &filter).await?;
        assert_eq!(found, (vec![2], counts(1, 0, 0)), "{filter:?}");
    }
    // A role that ended names nobody any more.
    let ended = "UPDATE role_bindings SET expires_at = TIMESTAMPTZ '2001-01-01'";
    world.store.connection().execute_unprepared(ended).await?;
    assert_eq!(numbers(approver, &everything).await?, [1, 2, 3]);
    Ok(())
}

#[tokio::test]
async fn a_named_role_counts_where_its_binding_does_and_by_its_id_when_it_has_no_key() -> TestResult {
    let world = World::create().await?;
    let keyless = NewRole {
        id: id(),
        key: None,
        name: "Board".to_owned(),
        display_name: None,
        description: None,
        permissions: vec![Permission::ApprovalApprove],
        built_in: false,
    };
    let mut work = world.begin().await?;
    work.roles().insert_role(&keyless, true).await?;
    insert_binding(
        work.as_mut(),
        world.approver,
        keyless.id,
        Scope::Global,
        EnvironmentSet::from_iter([Environment::Prod]),
    )
    .await?;
    work.commit().await?;
    // The approver's other role is held in test alone.
    let named = ["role-approver".to_owned(), keyless.id.to_string()];
    let places = ["test", "prod"];
    let tickets = named
        .iter()
        .flat_map(|name| places.map(|environment| (name, environment)));
    for (number, (name, environment)) in (1..).zip(tickets) {
        let row = Row {
            environment,
            approvers: format!("ARRAY['{name}']"),
            ..Row::new(&world, number, DAY)
        };
        row.insert(&world).await?;
    }
    let (numbers, _) = shown(&world, view(world.approver), &WorkbenchFilter::default()).await?;
    assert_eq!(
        numbers,
        [1, 4],
        "role-approver in test, and the role without a key in prod"
    );
    Ok(())
}

#[tokio::test]
async fn many_tickets_are_paged_without_gaps_and_what_they_point_to_is_read_at_once() -> TestResult {
    let world = World::create().await?;
    let many = format!(
        "INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, created_by) \
         SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'VM_STOP_REQUESTED', 'vm', n::text, \
             '{{}}', 'PENDING', 'system:test' FROM generate_series(1, 500) AS n; \
         INSERT INTO approval_tickets (id, event_id, request_type, status, environment, requester_id, vm_id, \
             context_snapshot, created_at) \
         SELECT id, id, 'STOP_VM', 'PENDING_APPROVAL', 'test', '{requester}', id, '{{}}', \
             TIMESTAMPTZ '{now}' - aggregate_id::int * interval '1 hour' FROM domain_events",
        requester = world.requester,
        now = now().to_rfc3339(),
    );
    world.store.connection().execute_unprepared(&many).await?;
    let mut seen = Vec::new();
    for number in 1..=5 {
        let request = PageRequest::new(number, 100).ok_or("no page")?;
        let filter = WorkbenchFilter::default();
        let (page, found) = world.store.workbench(&view(world.approver), &filter, request).await?;
        assert_eq!(found, counts(95, 72, 333), "hours 1 to 95, 96 to 167, 168 to 500");
        assert_eq!(page.total, 500);
        seen.extend(page.items.into_iter().map(|ticket| (ticket.created_at, ticket.id)));
    }
    assert_eq!(seen.len(), 500);
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen.len(), 500);

    let vm = world.vm().await?;
    let child = Row {
        parent: Some(1),
        ..Row::new(&world, 2, DAY)
    };
    Row {
        request_type: "BATCH_POWER",
        ..Row::new(&world, 1, DAY)
    }
    .insert(&world)
    .await?;
    child.insert(&world).await?;
    let wanted = TicketReferences {
        templates: vec![world.template, id()],
        sizes: vec![world.size],
        vms: vec![vm],
        parents: vec![ticket_id(1).into(), ticket_id(2).into()],
    };
    let facts = world.store.ticket_facts(&wanted).await?;
    let template = facts.templates.first().ok_or("no template")?;
    assert_eq!(
        (facts.templates.len(), template.name.as_str(), template.version),
        (1, "debian", 1)
    );
    assert_eq!(facts.sizes.first().ok_or("no size")?.size.name, "small");
    assert_eq!(facts.vms.first().ok_or("no machine")?.cluster_id, world.cluster);
    let children: Vec<i64> = facts.children.iter().map(|counted| counted.count).collect();
    assert_eq!(children, [1]);
    let none = world.store.ticket_facts(&TicketReferences::default()).await?;
    assert!(none.templates.is_empty() && none.sizes.is_empty() && none.vms.is_empty() && none.children.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_requester_is_offered_enabled_namespaces_and_the_services_of_own_systems() -> TestResult {
    let world = World::create().await?;
    let other: SystemId = id();
    let mut work = world.begin().await?;
    insert_system(work.as_mut(), other, "bank", world.approver).await?;
    work.systems()
        .add_member(id(), other, world.approver, ResourceRole::Owner, &system_actor())
        .await?;
    insert_service(work.as_mut(), id::<ServiceId>(), other, "zoo").await?;
    work.commit().await?;

    let places = world.store.request_places(EnvironmentSet::ALL, None).await?;
    let names: Vec<&str> = places.namespaces.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["dev", "live"]);
    let services: Vec<(&str, &str)> = places
        .services
        .iter()
        .map(|found| (found.system_name.as_str(), found.name.as_str()))
        .collect();
    assert_eq!(services, [("bank", "zoo"), ("shop", "redis")]);

    let own = world
        .store
        .request_places(EnvironmentSet::TEST, Some(&[world.system]))
        .await?;
    assert_eq!((own.namespaces.len(), own.services.len()), (1, 1));
    assert_eq!(own.services.first().map(|found| found.id), Some(world.service));
    let disabled = "UPDATE namespace_registry SET enabled = false WHERE name = 'dev'";
    world.store.connection().execute_unprepared(disabled).await?;
    let nothing = world.store.request_places(EnvironmentSet::TEST, Some(&[])).await?;
    assert!(nothing.namespaces.is_empty() && nothing.services.is_empty());
    Ok(())
}
