//! Members of Systems: expiry, and the owner who always remains, whoever acts at the same time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::access::ResourceRole;
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_ports::identity::{IdentityQueries, NewSession};
use shepherd_ports::members::{MemberQueries, NewMember};
use shepherd_ports::users::AccountChange;
use shepherd_ports::{RepositoryError, UnitOfWork};

use crate::TestResult;
use crate::world::{Outcome, World, at, id, insert_service, insert_system, insert_user, system_actor};

/// How often two people do at the same time what only one of them may.
const ROUNDS: usize = 200;
/// The same for what takes more statements.
const FEW_ROUNDS: usize = 50;
/// Far too short for who waits for a lock that is held.
const SHORT: Duration = Duration::from_millis(300);
/// Long enough for who waits for nobody.
const LONG: Duration = Duration::from_secs(60);

async fn insert_member(
    work: &mut dyn UnitOfWork,
    system: SystemId,
    user: UserId,
    role: ResourceRole,
    expires_at: Option<DateTime<Utc>>,
) -> Result<(), RepositoryError> {
    let member = NewMember {
        id: id(),
        system_id: system,
        user_id: user,
        role,
        expires_at,
        granted_by: system_actor(),
    };
    work.members().insert(&member).await
}

/// The same in a transaction of its own.
async fn join(world: &World, user: UserId, role: ResourceRole, expires_at: Option<DateTime<Utc>>) -> TestResult {
    let mut work = world.begin().await?;
    insert_member(work.as_mut(), world.system, user, role, expires_at).await?;
    Ok(work.commit().await?)
}

async fn new_user(world: &World, name: &str) -> Outcome<UserId> {
    let user = id();
    let mut work = world.begin().await?;
    insert_user(work.as_mut(), user, name).await?;
    work.commit().await?;
    Ok(user)
}

/// Members at a time, as the list shows them.
async fn members(world: &World, seconds: i64) -> Outcome<Vec<(String, ResourceRole)>> {
    let listed = world.store.list_members(world.system, at(seconds)).await?;
    Ok(listed
        .into_iter()
        .map(|member| (member.username, member.role))
        .collect())
}

/// Removes an owner as the use case does it; `false` when nobody would be left.
async fn remove_owner(world: &World, user: UserId) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let members = work.members();
    members.keep_user(user).await?;
    assert!(members.lock_system(world.system).await?);
    let Some(member) = members.find(world.system, user, at(0)).await? else {
        return Ok(false);
    };
    assert!(members.remove(member.id).await?);
    if !members.owner_remains(world.system).await? {
        return Ok(false);
    }
    work.commit().await?;
    Ok(true)
}

/// Takes the ownership of a user away by another role; `false` when nobody would be left.
async fn demote_owner(world: &World, user: UserId) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let members = work.members();
    members.keep_user(user).await?;
    assert!(members.lock_system(world.system).await?);
    let member = members.find(world.system, user, at(0)).await?.ok_or("no member")?;
    assert!(
        members
            .change_role(member.id, ResourceRole::Admin, &system_actor())
            .await?
    );
    if !members.owner_remains(world.system).await? {
        return Ok(false);
    }
    work.commit().await?;
    Ok(true)
}

/// Deletes a user as the use case does it; `false` when a System would be left without owner.
async fn delete_user(world: &World, user: UserId) -> Outcome<bool> {
    let mut work = world.begin().await?;
    work.users().lock(user).await?.ok_or("no account")?;
    if !work.members().lock_sole_owned(user).await?.is_empty() {
        return Ok(false);
    }
    assert!(work.users().delete(user).await?);
    work.commit().await?;
    Ok(true)
}

async fn owners(world: &World) -> Outcome<usize> {
    let listed = members(world, 0).await?;
    Ok(listed.iter().filter(|(_, role)| *role == ResourceRole::Owner).count())
}

#[tokio::test]
async fn of_two_owners_who_remove_each_other_one_stays() -> TestResult {
    let world = World::create().await?;
    for round in 0..ROUNDS {
        for user in [world.requester, world.approver] {
            if world.store.get_member(world.system, user, at(0)).await?.is_none() {
                join(&world, user, ResourceRole::Owner, None).await?;
            }
        }
        let (one, other) = tokio::join!(
            remove_owner(&world, world.requester),
            remove_owner(&world, world.approver)
        );
        assert!(one? ^ other?, "round {round}");
        assert_eq!(owners(&world).await?, 1, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn of_two_owners_who_step_down_one_stays() -> TestResult {
    let world = World::create().await?;
    join(&world, world.approver, ResourceRole::Owner, None).await?;
    for round in 0..FEW_ROUNDS {
        let (one, other) = tokio::join!(
            demote_owner(&world, world.requester),
            demote_owner(&world, world.approver)
        );
        let (one, other) = (one?, other?);
        assert!(one ^ other, "round {round}");
        let demoted = if one { world.requester } else { world.approver };
        let mut work = world.begin().await?;
        let member = work.members().find(world.system, demoted, at(0)).await?;
        let member = member.ok_or("no member")?.id;
        let owner = ResourceRole::Owner;
        assert!(work.members().change_role(member, owner, &system_actor()).await?);
        work.commit().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_owner_who_leaves_and_one_who_is_deleted_do_not_pass_each_other() -> TestResult {
    let world = World::create().await?;
    for round in 0..FEW_ROUNDS {
        let guest = new_user(&world, &format!("guest-{round}")).await?;
        join(&world, guest, ResourceRole::Owner, None).await?;
        let (left, deleted) = tokio::join!(remove_owner(&world, world.requester), delete_user(&world, guest));
        let left = left?;
        assert!(left ^ deleted?, "round {round}");
        assert_eq!(owners(&world).await?, 1, "round {round}");
        if left {
            join(&world, world.requester, ResourceRole::Owner, None).await?;
            assert!(delete_user(&world, guest).await?, "round {round}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn systems_that_somebody_else_owns_as_well_hold_nobody() -> TestResult {
    let world = World::create().await?;
    let (alone, shared) = (id::<SystemId>(), id::<SystemId>());
    let mut work = world.begin().await?;
    insert_system(work.as_mut(), shared, "shared", world.requester).await?;
    insert_system(work.as_mut(), alone, "alone", world.requester).await?;
    for (system, user, role) in [
        (alone, world.requester, ResourceRole::Owner),
        (alone, world.approver, ResourceRole::Admin),
        (shared, world.requester, ResourceRole::Owner),
        (shared, world.approver, ResourceRole::Owner),
    ] {
        insert_member(work.as_mut(), system, user, role, None).await?;
    }
    let mut sole = work.members().lock_sole_owned(world.requester).await?;
    sole.sort_unstable();
    let mut expected = vec![world.system, alone];
    expected.sort_unstable();
    assert_eq!(sole, expected);
    assert!(work.members().lock_sole_owned(world.approver).await?.is_empty());

    let named = |systems: &[(SystemId, &str)]| -> Vec<(SystemId, String)> {
        systems.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
    };
    let without = work.members().without_enabled_owner(world.requester).await?;
    assert_eq!(without, named(&[(alone, "alone"), (world.system, "shop")]));
    let without = work.members().without_enabled_owner(world.approver).await?;
    assert!(without.is_empty(), "{without:?}");
    disable(work.as_mut(), world.approver).await?;
    let without = work.members().without_enabled_owner(world.requester).await?;
    let all = [(alone, "alone"), (shared, "shared"), (world.system, "shop")];
    assert_eq!(without, named(&all), "a disabled owner counts as none");
    work.commit().await?;

    assert!(world.store.has_enabled_owner(shared).await?);
    let mut work = world.begin().await?;
    disable(work.as_mut(), world.requester).await?;
    work.commit().await?;
    assert!(!world.store.has_enabled_owner(shared).await?);
    let mut work = world.begin().await?;
    assert!(work.members().owner_remains(shared).await?, "disabled, but there");
    Ok(())
}

async fn disable(work: &mut dyn UnitOfWork, user: UserId) -> TestResult {
    let account = work.users().lock(user).await?.ok_or("no account")?;
    let change = AccountChange {
        enabled: Some(false),
        ..AccountChange::default()
    };
    assert!(work.users().update(user, account.row_version, &change, at(0)).await?);
    Ok(())
}

#[tokio::test]
async fn the_locks_of_a_change_hold_off_deletions_and_other_changes() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let name = work.members().keep_user(world.approver).await?;
    assert_eq!(name.as_deref(), Some("Arno"));
    assert!(work.members().lock_system(world.system).await?);
    let mut other = world.begin().await?;
    assert_eq!(other.members().keep_user(id()).await?, None);
    assert!(!other.members().lock_system(id()).await?);
    // What only refers to the System or the user goes on.
    let service = insert_service(other.as_mut(), id(), world.system, "web");
    tokio::time::timeout(LONG, service).await??;
    let session = NewSession {
        id: id(),
        user_id: world.approver,
        issued_at: at(0),
        expires_at: at(60),
        ip: None,
        user_agent: None,
    };
    let login = other.identity().open_session(&session, 10);
    assert!(tokio::time::timeout(LONG, login).await??.is_some());
    other.commit().await?;

    let mut other = world.begin().await?;
    let same = tokio::time::timeout(SHORT, other.members().lock_system(world.system)).await;
    assert!(same.is_err(), "two change the members of one System");
    drop(other);
    let mut other = world.begin().await?;
    let deletion = tokio::time::timeout(SHORT, other.systems().lock_and_count_services(world.system)).await;
    assert!(deletion.is_err(), "the System is deleted meanwhile");
    drop(other);
    let mut other = world.begin().await?;
    let account = tokio::time::timeout(SHORT, other.users().lock(world.approver)).await;
    assert!(account.is_err(), "the user is deleted meanwhile");
    Ok(())
}

#[tokio::test]
async fn members_are_listed_owners_first_and_by_name_without_regard_to_case() -> TestResult {
    let world = World::create().await?;
    for (name, role) in [
        ("zoe", ResourceRole::Owner),
        ("bert", ResourceRole::Viewer),
        ("Anna", ResourceRole::Member),
    ] {
        let user = new_user(&world, name).await?;
        join(&world, user, role, None).await?;
    }
    join(&world, world.approver, ResourceRole::Admin, None).await?;
    let listed = members(&world, 0).await?;
    let listed: Vec<(&str, ResourceRole)> = listed.iter().map(|(name, role)| (name.as_str(), *role)).collect();
    assert_eq!(
        listed,
        [
            ("Rita", ResourceRole::Owner),
            ("zoe", ResourceRole::Owner),
            ("Anna", ResourceRole::Member),
            ("Arno", ResourceRole::Admin),
            ("bert", ResourceRole::Viewer),
        ]
    );
    let again = join(&world, world.approver, ResourceRole::Viewer, None).await;
    assert!(again.is_err(), "nobody is a member twice");
    Ok(())
}

#[tokio::test]
async fn a_membership_ends_at_its_time_and_an_owner_stays() -> TestResult {
    const END: i64 = 60;
    let world = World::create().await?;
    join(&world, world.approver, ResourceRole::Member, Some(at(END))).await?;
    let get = async |seconds| world.store.get_member(world.system, world.approver, at(seconds)).await;
    let member = get(END - 1).await?.ok_or("it has not ended yet")?;
    assert_eq!(member.expires_at, Some(at(END)));
    assert!(get(END).await?.is_none());
    assert_eq!(members(&world, END).await?, [("Rita".to_owned(), ResourceRole::Owner)]);
    let held = world.store.holdings(world.approver, at(END)).await?;
    assert!(held.memberships.is_empty(), "{:?}", held.memberships);

    let mut work = world.begin().await?;
    assert!(
        work.members()
            .find(world.system, world.approver, at(END))
            .await?
            .is_none()
    );
    let early = work
        .members()
        .end_expired_of(world.system, world.approver, at(END - 1))
        .await?;
    assert_eq!(early, None);
    let owner = ResourceRole::Owner;
    assert!(work.members().change_role(member.id, owner, &system_actor()).await?);
    work.commit().await?;
    let promoted = get(END).await?.ok_or("an owner stays")?;
    assert_eq!((promoted.role, promoted.expires_at), (owner, None));
    assert_eq!(promoted.row_version, member.row_version + 1);
    Ok(())
}

#[tokio::test]
async fn expired_memberships_are_removed_in_batches_oldest_first_and_around_what_is_held() -> TestResult {
    let world = World::create().await?;
    let now = at(1000);
    let mut users = Vec::new();
    for number in 0..5_i64 {
        let user = new_user(&world, &format!("guest-{number}")).await?;
        let end = now - TimeDelta::seconds(number);
        join(&world, user, ResourceRole::Viewer, Some(end)).await?;
        users.push(user);
    }
    join(&world, world.approver, ResourceRole::Viewer, Some(at(1001))).await?;
    let epoch = async || -> Outcome<i64> {
        let state = world.store.session_state(world.session).await?;
        Ok(state.ok_or("no session")?.epoch)
    };
    let before = epoch().await?;

    let mut held = world.begin().await?;
    held.users().lock(users[4]).await?.ok_or("no account")?;
    let mut work = world.begin().await?;
    let first = work.members().end_expired(now, 2).await?;
    let names: Vec<&str> = first.iter().map(|ended| ended.username.as_str()).collect();
    assert_eq!(names, ["guest-3", "guest-2"], "the oldest one is held by somebody else");
    assert_eq!(
        (first[0].system_id, first[0].user_id, first[0].expires_at),
        (world.system, users[3], now - TimeDelta::seconds(3))
    );
    work.commit().await?;
    assert!(epoch().await? > before, "every replica has to notice");

    drop(held);
    let mut work = world.begin().await?;
    let one = work.members().end_expired_of(world.system, users[4], now).await?;
    assert_eq!(one.map(|ended| ended.user_id), Some(users[4]));
    work.commit().await?;
    let mut work = world.begin().await?;
    assert_eq!(work.members().end_expired(now, 100).await?.len(), 2);
    assert!(work.members().end_expired(now, 100).await?.is_empty());
    work.commit().await?;
    assert_eq!(
        members(&world, 1000).await?.len(),
        2,
        "the owner, and who has a second left"
    );
    Ok(())
}
