//! Who somebody is, what they may do, and what is on record about it.

use std::net::IpAddr;

use serde_json::json;
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::audit::{AuditAction, AuditEntry, RetentionDays};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::audit::{AuditFilter, AuditQueries, AuditStamp};
use shepherd_ports::context::RequestContext;
use shepherd_ports::identity::IdentityQueries;

use super::PAGE;
use crate::TestResult;
use crate::world::{World, at, id, system_actor};

#[tokio::test]
async fn a_session_answers_who_it_is_and_the_epoch_of_all_rights() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let state = store.session_state(world.session).await?.ok_or("no session")?;
    assert!(state.user_enabled && !state.revoked && state.force_password_change);
    store.touch_session(world.session, at(30)).await?;
    store.touch_session(world.session, at(20)).await?;
    let touched = store.session_state(world.session).await?.ok_or("no session")?;
    assert_eq!(touched.last_seen_at, at(30));

    let other = id();
    let mut work = world.begin().await?;
    let session = shepherd_ports::identity::NewSession {
        id: other,
        user_id: world.requester,
        issued_at: at(40),
        expires_at: at(86_400),
        ip: None,
        user_agent: None,
    };
    assert_eq!(
        work.identity().open_session(&session, 1).await?,
        Some(vec![world.session]),
        "beyond the limit the oldest one goes"
    );
    assert!(
        work.identity()
            .change_password(world.requester, "hash", "new", other, at(50))
            .await?
    );
    assert!(
        !work
            .identity()
            .change_password(world.requester, "hash", "newer", other, at(50))
            .await?
    );
    work.identity().rehash(world.requester, "new", "newest").await?;
    assert!(
        work.identity()
            .revoke_session(other, &system_actor(), "LOGOUT", at(60))
            .await?
    );
    assert!(
        !work
            .identity()
            .revoke_session(other, &system_actor(), "LOGOUT", at(60))
            .await?
    );
    work.commit().await?;
    assert!(
        store
            .session_state(world.session)
            .await?
            .is_some_and(|state| state.revoked)
    );
    let credentials = store.credentials("rITA").await?.ok_or("no user")?;
    assert_eq!(credentials.password_hash.as_deref(), Some("newest"));
    assert!(!credentials.force_password_change);
    assert!(store.credentials_of(world.requester).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn holdings_are_unexpired_bindings_of_enabled_roles_and_memberships() -> TestResult {
    let world = World::create().await?;
    let store = &world.store;
    let before = store.session_state(world.session).await?.ok_or("no session")?.epoch;
    let mut work = world.begin().await?;
    assert!(!work.identity().any_platform_admin().await?);
    let admin = id();
    crate::world::insert_role(work.as_mut(), admin, "Admin", &[Permission::PlatformAdmin]).await?;
    crate::world::insert_binding(work.as_mut(), world.approver, admin, Scope::Global, EnvironmentSet::ALL).await?;
    assert!(work.identity().any_platform_admin().await?);
    let role = work.identity().find_role("role-admin").await?.ok_or("no role")?;
    assert!(role.permissions.contains(Permission::ClusterManage));
    assert!(work.identity().find_role(&role.id.to_string()).await?.is_some());
    assert_eq!(work.identity().find_user("ARNO").await?, Some(world.approver));
    work.commit().await?;

    assert!(
        store
            .session_state(world.session)
            .await?
            .is_some_and(|state| state.epoch > before)
    );
    let holdings = store.holdings(world.approver, at(0)).await?;
    assert_eq!(holdings.bindings.len(), 2);
    assert_eq!(holdings.valid_until, None);
    let requester = store.holdings(world.requester, at(0)).await?;
    assert_eq!(
        requester.memberships,
        [(world.system, shepherd_domain::access::ResourceRole::Owner)]
    );

    let user = store.get_user(world.approver).await?.ok_or("no user")?;
    assert_eq!(user.roles, ["Admin", "Approver"]);
    assert_eq!(
        store.list_users(Some("example.ORG"), Some(true), PAGE()).await?.total,
        2
    );
    Ok(())
}

#[tokio::test]
async fn confirmation_failures_are_counted() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    work.identity()
        .record_confirmation_failure(world.requester, at(6))
        .await?;
    work.commit().await?;
    let store = &world.store;
    assert_eq!(
        store.confirmation_failures(world.requester, at(0)).await?,
        (1, Some(at(6)))
    );
    Ok(())
}

#[tokio::test]
async fn audit_rows_are_appended_together_and_filtered_by_visibility() -> TestResult {
    let world = World::create().await?;
    let context = RequestContext {
        actor: ActorId::user(world.requester),
        actor_name: Some("Rita".to_owned()),
        request_id: Some("r-1".to_owned()),
        ip: Some(IpAddr::from([192, 0, 2, 7])),
        user_agent: None,
    };
    let entries = [
        (
            id(),
            AuditEntry::new(AuditAction::SystemCreate, "system", world.system).named("shop"),
        ),
        (
            id(),
            AuditEntry::new(AuditAction::VmRequest, "vm", "x")
                .environment(Environment::Prod)
                .parent("service", world.service)
                .details(json!({"disk_gb": 100, "password": "hidden"})),
        ),
    ];
    let stamp = AuditStamp {
        context: &context,
        at: at(0),
        retention: RetentionDays::default(),
    };
    let by_component = RequestContext::system("worker");
    let mut work = world.begin().await?;
    work.audit().append(&entries, &stamp).await?;
    work.audit().append(&[], &stamp).await?;
    let entry = (id(), AuditEntry::new(AuditAction::VmCreate, "vm", "x").failed());
    work.audit()
        .append(
            &[entry],
            &AuditStamp {
                context: &by_component,
                ..stamp
            },
        )
        .await?;
    work.commit().await?;

    let store = &world.store;
    let all = AuditFilter {
        visible: EnvironmentSet::ALL,
        ..AuditFilter::default()
    };
    let page = store.list_audit(&all, PAGE()).await?;
    assert_eq!(page.total, 3);
    let request = page
        .items
        .iter()
        .find(|row| row.action == "vm.request")
        .ok_or("no row")?;
    assert_eq!(request.ip.as_deref(), Some("192.0.2.7"));
    assert_eq!(request.params, json!({"disk_gb": 100, "password": "[REDACTED]"}));
    let test_only = AuditFilter {
        visible: EnvironmentSet::TEST,
        ..AuditFilter::default()
    };
    assert_eq!(store.list_audit(&test_only, PAGE()).await?.total, 2);
    let prefix = AuditFilter {
        action: Some("vm.*".parse()?),
        actor: Some("system:worker".to_owned()),
        ..all
    };
    assert_eq!(store.list_audit(&prefix, PAGE()).await?.total, 1);
    Ok(())
}
