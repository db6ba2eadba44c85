//! Approval policies: what is stored, what a request is decided by, and whom a ticket's policy lets decide it.

use shepherd_domain::Environment::{Prod, Test};
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ExternalSystemId, PolicyId, ServiceId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::page::PageRequest;
use shepherd_domain::policy::{Matchers, PolicyEnvironment, PolicyOperation};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::RepositoryError;
use shepherd_ports::policies::{PolicyContent, PolicyQueries as _, PolicyReferences, Requesting};
use shepherd_ports::systems::Changed;
use shepherd_ports::tickets::TicketQueries as _;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_binding, insert_role, insert_user, system_actor};

fn content(name: &str, operation: PolicyOperation, environment: PolicyEnvironment) -> PolicyContent {
    PolicyContent {
        name: name.to_owned(),
        description: None,
        operation,
        environment,
        matchers: Matchers::default(),
        requires_approval: true,
        approvers: Vec::new(),
        external_system_id: None,
        priority: 0,
        enabled: true,
    }
}

async fn inserted(world: &World, content: &PolicyContent) -> Result<PolicyId, RepositoryError> {
    let policy = id();
    let mut work = world.begin().await?;
    work.policies().insert(policy, content, &system_actor()).await?;
    work.commit().await?;
    Ok(policy)
}

#[tokio::test]
async fn a_policy_is_kept_as_it_was_written() -> TestResult {
    let world = World::create().await?;
    let stop = PolicyOperation::Of(RequestType::StopVm);
    let written = PolicyContent {
        description: Some("nobody stops it alone".to_owned()),
        matchers: Matchers {
            namespaces: Some(vec!["dev-*".parse()?]),
            system_ids: Some(vec![world.system]),
            max_cpu_cores: Some(4),
            special_hardware: Some(false),
            ..Matchers::default()
        },
        approvers: vec![world.approver.to_string()],
        priority: 5,
        ..content("stops", stop, PolicyEnvironment::Test)
    };
    let policy = inserted(&world, &written).await?;
    let found = world.store.get_policy(policy).await?.ok_or("the policy is there")?;
    assert_eq!((&found.content, found.row_version), (&written, 1));

    let taken = inserted(&world, &written).await;
    assert!(taken.is_err_and(|error| error.is_unique("uq_approval_policies_name")));
    let nowhere = PolicyContent {
        external_system_id: Some(id::<ExternalSystemId>()),
        ..content("nowhere", stop, PolicyEnvironment::All)
    };
    let refused = inserted(&world, &nowhere).await;
    assert!(refused.is_err_and(|error| error.is_foreign_key("fk_approval_policies_external_system_id")));

    let changed = PolicyContent {
        matchers: Matchers::default(),
        ..written
    };
    let mut work = world.begin().await?;
    let stale = work.policies().replace(policy, &changed, Some(9)).await?;
    assert_eq!(stale, Changed::VersionMismatch { current: 1 });
    assert_eq!(work.policies().replace(policy, &changed, Some(1)).await?, Changed::Yes);
    let held = work.policies().hold(policy).await?.ok_or("the policy is there")?;
    assert_eq!((held.content, held.row_version), (changed, 2));
    work.commit().await?;

    inserted(
        &world,
        &PolicyContent {
            priority: 6,
            ..content("any", PolicyOperation::Any, PolicyEnvironment::All)
        },
    )
    .await?;
    let all = world.store.list_policies(None, PageRequest::default()).await?;
    let names: Vec<&str> = all.items.iter().map(|policy| policy.content.name.as_str()).collect();
    assert_eq!((names, all.total), (vec!["any", "stops"], 2));
    let some = world.store.list_policies(Some(stop), PageRequest::default()).await?;
    assert_eq!(some.total, 1);

    let mut work = world.begin().await?;
    assert!(work.policies().delete(policy).await?);
    assert!(!work.policies().delete(policy).await?);
    work.commit().await?;
    assert!(world.store.get_policy(policy).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn a_request_is_decided_by_the_policies_about_it_and_the_roles_held_there() -> TestResult {
    let world = World::create().await?;
    let stop = PolicyOperation::Of(RequestType::StopVm);
    let start = PolicyOperation::Of(RequestType::StartVm);
    let disabled = PolicyContent {
        enabled: false,
        ..content("off", stop, PolicyEnvironment::Test)
    };
    let exact = inserted(&world, &content("exact", stop, PolicyEnvironment::Test)).await?;
    let wide = inserted(&world, &content("wide", PolicyOperation::Any, PolicyEnvironment::All)).await?;
    for other in [
        content("prod", stop, PolicyEnvironment::Prod),
        content("start", start, PolicyEnvironment::All),
        disabled,
    ] {
        inserted(&world, &other).await?;
    }
    let (keeper, later) = (id(), id());
    let mut work = world.begin().await?;
    insert_role(work.as_mut(), keeper, "Keeper", &[Permission::VmOperate]).await?;
    insert_role(work.as_mut(), later, "Later", &[Permission::VmOperate]).await?;
    let scope = Scope::System(world.system);
    insert_binding(work.as_mut(), world.requester, keeper, scope, EnvironmentSet::TEST).await?;
    let global = EnvironmentSet::from_iter([Prod]);
    insert_binding(work.as_mut(), world.requester, later, Scope::Global, global).await?;
    work.commit().await?;

    let requesting = Requesting {
        operation: RequestType::StopVm,
        environment: Test,
        requester: Some(world.requester),
        system: Some(world.system),
    };
    let found = world.store.rule_inputs(requesting, at(0)).await?;
    let mut policies: Vec<PolicyId> = found.policies.iter().map(|policy| policy.id).collect();
    policies.sort();
    assert_eq!(policies, [exact, wide]);
    assert_eq!(found.roles.len(), 1, "prod is elsewhere: {:?}", found.roles);
    let elsewhere = Requesting {
        system: None,
        requester: None,
        ..requesting
    };
    assert_eq!(
        world.store.rule_inputs(elsewhere, at(0)).await?.roles,
        Vec::<String>::new()
    );
    let of_system = world
        .store
        .role_keys(world.requester, Test, Some(world.system), at(0))
        .await?;
    assert_eq!(of_system, found.roles);
    assert_eq!(
        world.store.role_keys(world.requester, Test, None, at(0)).await?,
        Vec::<String>::new()
    );
    assert_eq!(
        world.store.role_keys(world.requester, Prod, None, at(0)).await?.len(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn what_leads_nowhere_is_told_apart() -> TestResult {
    let world = World::create().await?;
    let (service, user) = (id::<ServiceId>(), id::<UserId>());
    let role = world.store.role_keys(world.approver, Test, None, at(0)).await?;
    let references = PolicyReferences {
        systems: vec![world.system],
        services: vec![world.service, service],
        sizes: vec![world.size],
        users: vec![user, world.requester],
        roles: vec!["role-of-nobody".to_owned()],
        approvers: [role, vec![world.approver.to_string(), user.to_string(), "x".to_owned()]].concat(),
    };
    let missing = world.store.missing_references(&references).await?;
    assert_eq!(
        (missing.systems, missing.sizes),
        (Vec::<String>::new(), Vec::<String>::new())
    );
    assert_eq!(missing.services, [service.to_string()]);
    assert_eq!(missing.users, [user.to_string()]);
    assert_eq!(missing.roles, ["role-of-nobody"]);
    assert_eq!(missing.approvers, [user.to_string(), "x".to_owned()]);
    assert_eq!(world.store.system_of(world.service).await?, Some(world.system));
    assert_eq!(world.store.system_of(service).await?, None);
    Ok(())
}

/// How many hear of a ticket whose policy names these approvers.
async fn told(world: &World, approvers: &[String]) -> Outcome<u64> {
    let mut work = world.begin().await?;
    let submitted = world.submit_create(work.as_mut()).await?;
    work.commit().await?;
    let list = approvers
        .iter()
        .map(|approver| format!("\"{approver}\""))
        .collect::<Vec<_>>()
        .join(",");
    let (ticket, connection) = (submitted.ticket, world.store.connection());
    let sql = format!(
        "UPDATE approval_tickets SET eligible_approvers = '{{{list}}}', status = 'CANCELLED' WHERE id = '{ticket}'"
    );
    sea_orm::ConnectionTrait::execute_unprepared(connection, &sql).await?;
    let stored = world.store.get_ticket(ticket).await?.ok_or("the ticket is there")?;
    assert_eq!(stored.eligible_approvers, approvers);
    let audience = Audience::EligibleApprovers {
        ticket,
        except: Some(world.requester),
    };
    let draft = NotificationDraft::new(NotificationType::ApprovalPending, Severity::Info, "waits", "it waits");
    let mut work = world.begin().await?;
    let sent = work.notifications().insert_for(audience, &draft, at(0)).await?;
    work.commit().await?;
    Ok(sent)
}

#[tokio::test]
async fn only_those_whom_the_policy_names_hear_of_a_ticket() -> TestResult {
    let world = World::create().await?;
    let (ada, chief): (UserId, _) = (id(), id());
    let mut work = world.begin().await?;
    insert_user(work.as_mut(), ada, "Ada").await?;
    insert_role(work.as_mut(), chief, "Chief", &[Permission::ApprovalApprove]).await?;
    insert_binding(work.as_mut(), ada, chief, Scope::Global, EnvironmentSet::TEST).await?;
    work.commit().await?;
    let of_ada = world.store.role_keys(ada, Test, None, at(0)).await?;
    assert_eq!(told(&world, &[]).await?, 2, "all who decide in test");
    assert_eq!(told(&world, &[ada.to_string()]).await?, 1);
    assert_eq!(told(&world, &of_ada).await?, 1);
    let both = [of_ada, vec![world.approver.to_string()]].concat();
    assert_eq!(told(&world, &both).await?, 2);
    assert_eq!(
        told(&world, &[world.requester.to_string()]).await?,
        0,
        "a name gives no right"
    );
    Ok(())
}
