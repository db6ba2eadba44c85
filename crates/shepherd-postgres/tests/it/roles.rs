//! Roles and bindings: what is guarded, ended and listed, and the administrator who always remains.

use std::time::Duration;

use sea_orm::sqlx;
use shepherd_domain::access::{Permission, Scope};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{RoleBindingId, RoleId, SystemId, UserId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::identity::{NewBinding, NewRole};
use shepherd_ports::roles::{BindingDetails, BindingFilter, RolePatch, RoleQueries};
use shepherd_ports::systems::Changed;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_role, insert_system, system_actor};

/// How often two people do at the same time what only one of them may.
const ROUNDS: usize = 200;
/// The same for what takes more statements.
const FEW_ROUNDS: usize = 50;
/// Far too short for who waits for a lock that is held.
const SHORT: Duration = Duration::from_millis(300);
/// Long enough for who waits for nobody.
const LONG: Duration = Duration::from_secs(60);

/// A binding everywhere and for good, but for what a test changes of it.
fn binding(user: UserId, role: RoleId) -> NewBinding {
    NewBinding {
        id: id(),
        user_id: user,
        role_id: role,
        scope: Scope::Global,
        environments: EnvironmentSet::ALL,
        source: "manual",
        expires_at: None,
        created_by: system_actor(),
    }
}

async fn insert(world: &World, binding: &NewBinding) -> TestResult {
    let mut work = world.begin().await?;
    work.identity().insert_binding(binding).await?;
    Ok(work.commit().await?)
}

async fn new_role(world: &World, name: &str, permissions: &[Permission]) -> Outcome<RoleId> {
    let role = id();
    let mut work = world.begin().await?;
    insert_role(work.as_mut(), role, name, permissions).await?;
    work.commit().await?;
    Ok(role)
}

/// Removes a binding as the use case does it; `false` when no administrator would be left.
async fn take_away(world: &World, binding: &NewBinding) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let roles = work.roles();
    roles.lock_administrators().await?;
    roles
        .lock_binding(binding.user_id, binding.id)
        .await?
        .ok_or("no binding")?;
    assert!(roles.remove_binding(binding.id).await?);
    if !roles.administrator_remains().await? {
        return Ok(false);
    }
    work.commit().await?;
    Ok(true)
}

/// Disables or enables a role as the use case does it; `false` when no administrator would be left.
async fn enable(world: &World, role: RoleId, enabled: bool) -> Outcome<bool> {
    let patch = RolePatch {
        enabled: Some(enabled),
        ..RolePatch::default()
    };
    let mut work = world.begin().await?;
    let roles = work.roles();
    roles.lock_administrators().await?;
    roles.lock_role(&role.to_string()).await?.ok_or("no role")?;
    assert_eq!(roles.update_role(role, &patch, None).await?, Changed::Yes);
    if !roles.administrator_remains().await? {
        return Ok(false);
    }
    work.commit().await?;
    Ok(true)
}

#[tokio::test]
async fn of_two_administrators_who_remove_each_other_one_stays() -> TestResult {
    let world = World::create().await?;
    let role = new_role(&world, "Admin", &[Permission::PlatformAdmin]).await?;
    let mut bindings = [binding(world.requester, role), binding(world.approver, role)];
    for binding in &bindings {
        insert(&world, binding).await?;
    }
    for round in 0..ROUNDS {
        let (one, other) = tokio::join!(take_away(&world, &bindings[0]), take_away(&world, &bindings[1]));
        let removed = [one?, other?];
        assert!(removed[0] ^ removed[1], "round {round}: {removed:?}");
        assert!(world.store.has_administrator().await?, "round {round}");
        for (binding, removed) in bindings.iter_mut().zip(removed) {
            if removed {
                binding.id = id();
                insert(&world, binding).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_binding_that_goes_and_a_role_that_is_disabled_do_not_pass_each_other() -> TestResult {
    let world = World::create().await?;
    let first = new_role(&world, "First", &[Permission::PlatformAdmin]).await?;
    let second = new_role(&world, "Second", &[Permission::PlatformAdmin]).await?;
    let mut bound = binding(world.requester, first);
    insert(&world, &bound).await?;
    insert(&world, &binding(world.approver, second)).await?;
    for round in 0..FEW_ROUNDS {
        let (removed, disabled) = tokio::join!(take_away(&world, &bound), enable(&world, second, false));
        let (removed, disabled) = (removed?, disabled?);
        assert!(removed ^ disabled, "round {round}");
        assert!(world.store.has_administrator().await?, "round {round}");
        if removed {
            bound.id = id();
            insert(&world, &bound).await?;
        } else {
            assert!(enable(&world, second, true).await?);
        }
    }
    Ok(())
}

/// Who ends by himself, cannot log in or is made by a provider does not count.
#[tokio::test]
async fn an_administrator_remains_who_can_log_in_and_holds_everything_for_good() -> TestResult {
    let world = World::create().await?;
    assert!(!world.store.has_administrator().await?);
    let role = new_role(&world, "Admin", &[Permission::PlatformAdmin]).await?;
    insert(&world, &binding(world.requester, role)).await?;
    let pool = world.store.connection().get_postgres_connection_pool();
    let provider = "INSERT INTO auth_providers (id, name, auth_type, config, secrets, default_role_id, created_by) \
                    SELECT gen_random_uuid(), 'corp', 'oidc', '{}', '\\x', id, 'test' FROM roles WHERE name = 'Admin'";
    sqlx::query(provider).execute(pool).await?;
    for (lost, found) in [
        (
            "UPDATE role_bindings SET allowed_environments = '{test}' WHERE source = 'manual'",
            "UPDATE role_bindings SET allowed_environments = '{prod,test}' WHERE source = 'manual'",
        ),
        (
            "UPDATE role_bindings SET scope_type = 'system', scope_id = gen_random_uuid()",
            "UPDATE role_bindings SET scope_type = 'global', scope_id = NULL, allowed_environments = '{test,prod}'",
        ),
        (
            "UPDATE role_bindings SET expires_at = now() + interval '1 year'",
            "UPDATE role_bindings SET expires_at = NULL",
        ),
        (
            "UPDATE role_bindings SET source = 'idp_mapping'",
            "UPDATE role_bindings SET source = 'seed'",
        ),
        (
            "UPDATE role_bindings SET source = 'break_glass'",
            "UPDATE role_bindings SET source = 'manual'",
        ),
        (
            "UPDATE roles SET enabled = false WHERE name = 'Admin'",
            "UPDATE roles SET enabled = true WHERE name = 'Admin'",
        ),
        (
            "UPDATE roles SET permissions = '{rbac:manage}' WHERE name = 'Admin'",
            "UPDATE roles SET permissions = '{rbac:manage,platform:admin}' WHERE name = 'Admin'",
        ),
        (
            "UPDATE users SET enabled = false WHERE username = 'Rita'",
            "UPDATE users SET enabled = true WHERE username = 'Rita'",
        ),
        (
            "UPDATE users SET password_hash = NULL WHERE username = 'Rita'",
            "UPDATE users SET auth_provider_id = (SELECT id FROM auth_providers) WHERE username = 'Rita'",
        ),
        (
            "UPDATE auth_providers SET enabled = false",
            "UPDATE auth_providers SET enabled = true",
        ),
    ] {
        sqlx::query(lost).execute(pool).await?;
        assert!(!world.store.has_administrator().await?, "{lost}");
        sqlx::query(found).execute(pool).await?;
        assert!(world.store.has_administrator().await?, "{found}");
    }
    Ok(())
}

fn custom(name: &str, built_in: bool) -> NewRole {
    NewRole {
        id: id(),
        key: None,
        name: name.to_owned(),
        display_name: Some("A name".to_owned()),
        description: Some("A text".to_owned()),
        permissions: vec![Permission::SystemRead, Permission::VmRead],
        built_in,
    }
}

async fn insert_custom(world: &World, role: &NewRole, enabled: bool) -> TestResult {
    let mut work = world.begin().await?;
    work.roles().insert_role(role, enabled).await?;
    Ok(work.commit().await?)
}

#[tokio::test]
async fn a_role_is_found_and_changed_as_the_version_it_was_seen_in() -> TestResult {
    let world = World::create().await?;
    let (role, fixed) = (custom("Reader", false), custom("Fixed", true));
    insert_custom(&world, &role, false).await?;
    insert_custom(&world, &fixed, true).await?;
    let same_name = insert_custom(&world, &custom("Reader", false), true).await;
    assert!(same_name.is_err(), "names are unique");

    let by_key = world.store.get_role("role-approver").await?.ok_or("no role")?;
    assert_eq!(by_key.id, world.approver_role);
    assert!(world.store.get_role(&id::<RoleId>().to_string()).await?.is_none());
    let listed = world.store.list_roles().await?;
    let listed: Vec<(&str, bool)> = listed.iter().map(|role| (role.name.as_str(), role.built_in)).collect();
    assert_eq!(listed, [("Fixed", true), ("Approver", false), ("Reader", false)]);
    let before = world.store.get_role(&role.id.to_string()).await?.ok_or("no role")?;
    assert_eq!((before.enabled, before.row_version), (false, 1));
    assert_eq!(before.permissions, ["system:read", "vm:read"]);

    let patch = RolePatch {
        display_name: Some(None),
        permissions: Some(vec![Permission::AuditRead]),
        ..RolePatch::default()
    };
    let mut work = world.begin().await?;
    let roles = work.roles();
    let mismatch = Changed::VersionMismatch { current: 1 };
    assert_eq!(roles.update_role(role.id, &patch, Some(2)).await?, mismatch);
    assert_eq!(roles.update_role(role.id, &patch, Some(1)).await?, Changed::Yes);
    assert_eq!(roles.update_role(id(), &patch, None).await?, Changed::Gone);
    assert_ne!(roles.update_role(fixed.id, &patch, None).await?, Changed::Yes);
    assert!(!roles.delete_role(fixed.id).await?, "a built-in role stays");
    let after = roles.lock_role(&role.id.to_string()).await?.ok_or("no role")?;
    assert_eq!((after.display_name.as_deref(), after.row_version), (None, 2));
    assert_eq!(after.description.as_deref(), Some("A text"));
    assert_eq!(after.permissions, ["audit:read"]);
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_role_goes_when_no_binding_and_no_provider_refers_to_it() -> TestResult {
    let world = World::create().await?;
    let role = custom("Reader", false);
    insert_custom(&world, &role, true).await?;
    let mut expired = binding(world.requester, role.id);
    expired.expires_at = Some(at(0));
    insert(&world, &expired).await?;
    let pool = world.store.connection().get_postgres_connection_pool();
    let provider = "INSERT INTO auth_providers (id, name, auth_type, config, secrets, default_role_id, created_by) \
                    SELECT gen_random_uuid(), 'corp', 'oidc', '{}', '\\x', id, 'test' FROM roles WHERE name = 'Reader'";
    sqlx::query(provider).execute(pool).await?;

    let mut work = world.begin().await?;
    assert_eq!(work.roles().role_references(role.id).await?, 2);
    assert!(work.roles().delete_role(role.id).await.is_err(), "the database agrees");
    drop(work);
    sqlx::query("DELETE FROM auth_providers").execute(pool).await?;
    let mut work = world.begin().await?;
    assert_eq!(work.roles().role_references(role.id).await?, 1);
    assert!(work.roles().remove_binding(expired.id).await?);
    assert!(!work.roles().remove_binding(expired.id).await?, "twice");
    assert_eq!(work.roles().role_references(role.id).await?, 0);
    assert!(work.roles().delete_role(role.id).await?);
    assert!(!work.roles().delete_role(role.id).await?, "twice");
    work.commit().await?;
    assert!(world.store.get_role(&role.id.to_string()).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn narrow_bindings_are_those_of_one_system_or_one_environment() -> TestResult {
    let world = World::create().await?;
    let role = new_role(&world, "Reader", &[Permission::VmRead]).await?;
    insert(&world, &binding(world.requester, role)).await?;
    for (environments, scope, narrow) in [
        (EnvironmentSet::ALL, Scope::Global, false),
        (EnvironmentSet::TEST, Scope::Global, true),
        (EnvironmentSet::ALL, Scope::System(world.system), true),
    ] {
        let mut work = world.begin().await?;
        let another = NewBinding {
            environments,
            scope,
            ..binding(world.approver, role)
        };
        work.identity().insert_binding(&another).await?;
        assert_eq!(
            work.roles().has_narrow_bindings(role).await?,
            narrow,
            "{environments:?} {scope:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_binding_stands_on_is_held_and_whoever_changes_it_waits() -> TestResult {
    let world = World::create().await?;
    let key = "role-approver";
    let mut work = world.begin().await?;
    let held = work.roles().hold_role(key).await?.ok_or("no role")?;
    assert_eq!(held.id, world.approver_role);
    assert!(work.roles().hold_role("role-nobody").await?.is_none());
    assert!(work.roles().hold_system(world.system).await?);
    assert!(!work.roles().hold_system(id()).await?);
    work.roles().lock_administrators().await?;

    let mut other = world.begin().await?;
    let shared = tokio::time::timeout(LONG, other.roles().hold_role(key)).await;
    assert!(shared??.is_some(), "others give the same role meanwhile");
    let mut other = world.begin().await?;
    let change = tokio::time::timeout(SHORT, other.roles().lock_role(key)).await;
    assert!(change.is_err(), "the role is changed meanwhile");
    let mut other = world.begin().await?;
    let deletion = tokio::time::timeout(SHORT, other.systems().lock_and_count_services(world.system)).await;
    assert!(deletion.is_err(), "the System is deleted meanwhile");
    let mut other = world.begin().await?;
    let administrators = tokio::time::timeout(SHORT, other.roles().lock_administrators()).await;
    assert!(administrators.is_err(), "two look after the last administrator");
    Ok(())
}

fn ids(bindings: &[BindingDetails]) -> Vec<RoleBindingId> {
    bindings.iter().map(|binding| binding.id).collect()
}

#[tokio::test]
async fn bindings_that_have_ended_go_in_batches_and_those_of_emergencies_by_themselves() -> TestResult {
    let world = World::create().await?;
    let reader = new_role(&world, "Reader", &[Permission::VmRead]).await?;
    new_role(&world, "Bootstrap", &[Permission::PlatformAdmin]).await?;
    let ending = |user, seconds| NewBinding {
        expires_at: Some(at(seconds)),
        ..binding(user, reader)
    };
    let (first, second) = (ending(world.requester, 10), ending(world.approver, 20));
    let later = NewBinding {
        scope: Scope::System(world.system),
        ..ending(world.approver, 100)
    };
    for binding in [&first, &second, &later] {
        insert(&world, binding).await?;
    }
    let mut work = world.begin().await?;
    let (granted, again): (RoleBindingId, RoleBindingId) = (id(), id());
    let by = system_actor();
    work.roles()
        .grant_bootstrap(granted, world.approver, at(30), &by)
        .await?;
    work.roles().grant_bootstrap(again, world.approver, at(40), &by).await?;
    work.commit().await?;
    assert!(!world.store.has_administrator().await?, "an emergency is no rule");

    let mut work = world.begin().await?;
    let roles = work.roles();
    let mut removed = roles.remove_expired(at(50), 1).await?;
    assert_eq!(removed.len(), 1);
    removed.extend(roles.remove_expired(at(50), 10).await?);
    removed.sort_unstable_by_key(|binding| binding.expires_at);
    assert_eq!(ids(&removed), [first.id, second.id]);
    assert_eq!(
        (removed[0].username.as_str(), removed[0].role_name.as_str()),
        ("Rita", "Reader")
    );
    assert!(removed[0].permission_set().contains(Permission::VmRead));
    assert_eq!(roles.remove_expired(at(50), 10).await?, []);

    assert_eq!(roles.end_bootstrap(None, Some(at(39))).await?, []);
    assert_eq!(roles.end_bootstrap(Some(world.requester), None).await?, []);
    let ended = roles.end_bootstrap(None, Some(at(40))).await?;
    assert_eq!(ids(&ended), [granted], "the day began anew in the same binding");
    assert_eq!(
        (ended[0].source.as_str(), ended[0].expires_at),
        ("break_glass", Some(at(40)))
    );
    roles.grant_bootstrap(again, world.approver, at(90), &by).await?;
    let ended = roles.end_bootstrap(Some(world.approver), None).await?;
    assert_eq!(ids(&ended), [again]);
    work.commit().await?;
    let filter = BindingFilter {
        role: Some(reader),
        ..BindingFilter::default()
    };
    let left = world.store.list_bindings(&filter, PageRequest::default()).await?;
    assert_eq!(ids(&left.items), [later.id]);
    Ok(())
}

#[tokio::test]
async fn an_equal_binding_is_named_and_makes_room_when_it_has_expired() -> TestResult {
    const END: i64 = 60;
    let world = World::create().await?;
    let reader = new_role(&world, "Reader", &[Permission::VmRead]).await?;
    let scope = Scope::System(world.system);
    let bound = NewBinding {
        scope,
        expires_at: Some(at(END)),
        ..binding(world.requester, reader)
    };
    insert(&world, &bound).await?;
    let mut equal = bound.clone();
    equal.id = id();
    assert!(insert(&world, &equal).await.is_err());
    let found = async |user, scope, source| world.store.equal_binding(user, reader, scope, source).await;
    assert_eq!(found(world.requester, scope, "manual").await?, Some(bound.id));
    assert_eq!(found(world.requester, Scope::Global, "manual").await?, None);
    assert_eq!(found(world.requester, scope, "idp_mapping").await?, None);
    assert_eq!(found(world.approver, scope, "manual").await?, None);

    let mut work = world.begin().await?;
    let roles = work.roles();
    for (user, scope, source, now) in [
        (world.requester, scope, "manual", END - 1),
        (world.requester, Scope::Global, "manual", END),
        (world.requester, scope, "seed", END),
        (world.approver, scope, "manual", END),
    ] {
        let none = roles.remove_expired_equal(user, reader, scope, source, at(now)).await?;
        assert_eq!(none, None, "{user} {scope:?} {source} {now}");
    }
    assert!(roles.lock_binding(world.approver, bound.id).await?.is_none());
    let locked = roles
        .lock_binding(world.requester, bound.id)
        .await?
        .ok_or("no binding")?;
    assert_eq!(
        (locked.scope(), locked.allowed_environments),
        (scope, EnvironmentSet::ALL)
    );
    let gone = roles
        .remove_expired_equal(world.requester, reader, scope, "manual", at(END))
        .await?;
    assert_eq!(gone.map(|binding| binding.id), Some(bound.id));
    work.identity().insert_binding(&equal).await?;
    work.commit().await?;
    Ok(())
}

#[tokio::test]
async fn bindings_are_listed_newest_first_and_only_where_the_reader_may_look() -> TestResult {
    let world = World::create().await?;
    let reader = new_role(&world, "Reader", &[Permission::VmRead]).await?;
    let bank: SystemId = id();
    let mut work = world.begin().await?;
    insert_system(work.as_mut(), bank, "bank", world.requester).await?;
    work.commit().await?;
    let on = |user, scope| NewBinding {
        scope,
        ..binding(user, reader)
    };
    let made = [
        on(world.requester, Scope::Global),
        on(world.requester, Scope::System(world.system)),
        on(world.requester, Scope::System(bank)),
        on(world.approver, Scope::System(bank)),
    ];
    for binding in &made {
        insert(&world, binding).await?;
    }
    let listed = async |filter: BindingFilter| -> Outcome<Vec<RoleBindingId>> {
        let page = world.store.list_bindings(&filter, PageRequest::default()).await?;
        assert_eq!(page.total, page.items.len() as u64);
        Ok(ids(&page.items))
    };
    let of_role = BindingFilter {
        role: Some(reader),
        ..BindingFilter::default()
    };
    let [global, shop, first, second] = [made[0].id, made[1].id, made[2].id, made[3].id];
    assert_eq!(listed(of_role.clone()).await?, [second, first, shop, global]);
    assert_eq!(
        listed(BindingFilter::default()).await?.len(),
        5,
        "the approver's own binding as well"
    );
    let of_user = BindingFilter {
        user: Some(world.approver),
        scope: Some(bank),
        ..of_role.clone()
    };
    assert_eq!(listed(of_user).await?, [second]);
    for (visible, expected) in [
        (vec![], vec![]),
        (vec![world.system], vec![shop]),
        (vec![world.system, bank], vec![second, first, shop]),
    ] {
        let filter = BindingFilter {
            visible: Some(visible),
            ..BindingFilter::default()
        };
        assert_eq!(listed(filter).await?, expected);
    }
    let first_page = PageRequest::new(1, 3).ok_or("no page")?;
    let page = world.store.list_bindings(&of_role, first_page).await?;
    assert_eq!((ids(&page.items), page.total), (vec![second, first, shop], 4));
    Ok(())
}
