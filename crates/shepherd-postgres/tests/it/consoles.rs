//! Grants are made once however many ask for them, and end once.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use sea_orm::sqlx;
use shepherd_domain::ids::{ConsoleGrantId, UserId, VmId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::consoles::{ConsoleQueries, ConsoleStanding, GrantFilter, NewGrant, Revocation};
use shepherd_ports::upkeep::Transient;
use sqlx::AssertSqlSafe;

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

/// How often several people ask, or several administrators revoke, at the same time.
const RACES: usize = 20;
/// How many do.
const RACERS: usize = 6;

fn grant(world: &World, vm: VmId, granted_at: DateTime<Utc>) -> NewGrant {
    NewGrant {
        id: id(),
        vm_id: vm,
        user_id: world.requester,
        environment: Environment::Test,
        ticket_id: None,
        granted_by: ActorId::user(world.requester),
        granted_at,
        expires_at: granted_at + TimeDelta::hours(2),
    }
}

async fn insert(world: &World, grant: &NewGrant) -> Outcome<()> {
    let mut work = world.begin().await?;
    work.consoles().insert(grant).await?;
    Ok(work.commit().await?)
}

/// A grant unless there is a live one; answers the one there is then.
async fn obtain(world: &World, vm: VmId) -> Outcome<ConsoleGrantId> {
    let user = world.requester;
    let mut work = world.begin().await?;
    work.consoles().hold(vm, user).await?;
    if let Some(live) = work.consoles().live(vm, user, at(0)).await? {
        return Ok(live.id);
    }
    let grant = grant(world, vm, at(0));
    work.consoles().insert(&grant).await?;
    work.commit().await?;
    Ok(grant.id)
}

async fn revoke(world: &World, grant: ConsoleGrantId, seconds: i64) -> Outcome<Revocation> {
    let mut work = world.begin().await?;
    let revoked = work.consoles().revoke(grant, &system_actor(), at(seconds)).await?;
    work.commit().await?;
    Ok(revoked)
}

async fn run(world: &World, sql: impl Into<String>) -> Outcome<u64> {
    let pool = world.store.connection().get_postgres_connection_pool();
    Ok(sqlx::query(AssertSqlSafe(sql.into()))
        .execute(pool)
        .await?
        .rows_affected())
}

async fn standing(world: &World, vm: VmId, seconds: i64) -> Outcome<ConsoleStanding> {
    let found = world.store.console_standing(vm, world.requester, at(seconds)).await?;
    Ok(found)
}

async fn listed(world: &World, filter: GrantFilter) -> Outcome<Vec<(ConsoleGrantId, i64)>> {
    let page = PageRequest::new(1, 20).ok_or("a page")?;
    let found = world.store.list_console_grants(&filter, at(60), page).await?;
    assert_eq!(found.total, u64::try_from(found.items.len())?);
    let rows = found.items.into_iter();
    Ok(rows.map(|listed| (listed.grant.id, listed.open_sessions)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_at_the_same_time_gets_the_same_grant() -> TestResult {
    let world = World::create().await?;
    for _ in 0..RACES {
        let vm = id();
        let obtained = join_all((0..RACERS).map(|_| obtain(&world, vm))).await;
        let mut grants = obtained.into_iter().collect::<Outcome<Vec<_>>>()?;
        grants.sort_unstable();
        grants.dedup();
        assert_eq!(grants.len(), 1);
        let of_vm = GrantFilter {
            vm_id: Some(vm),
            ..GrantFilter::default()
        };
        assert_eq!(listed(&world, of_vm).await?.len(), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_is_revoked_once_and_its_unused_token_with_it() -> TestResult {
    let world = World::create().await?;
    for _ in 0..RACES {
        let grant = grant(&world, id(), at(0));
        insert(&world, &grant).await?;
        for used_at in ["NULL", "granted_at"] {
            let token = format!(
                "INSERT INTO vnc_access_tokens (token_id, grant_id, session_id, user_id, vm_id, issued_at, expires_at, \
                     used_at) \
                 SELECT gen_random_uuid(), id, gen_random_uuid(), user_id, vm_id, granted_at, expires_at, {used_at} \
                 FROM console_grants WHERE id = '{}'",
                grant.id
            );
            assert_eq!(run(&world, token).await?, 1);
        }
        let outcomes = join_all((0..RACERS).map(|_| revoke(&world, grant.id, 60))).await;
        let outcomes = outcomes.into_iter().collect::<Outcome<Vec<_>>>()?;
        let first: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Revocation::Revoked(grant) => Some(grant),
                Revocation::AlreadyRevoked | Revocation::NotFound => None,
            })
            .collect();
        assert_eq!(first.len(), 1);
        assert!(first.iter().all(|one| one.id == grant.id && !one.is_live(at(60))));
        assert!(!outcomes.contains(&Revocation::NotFound));
        let ended = format!(
            "UPDATE vnc_access_tokens SET revoked_at = revoked_at \
             WHERE grant_id = '{}' AND revoked_at IS NOT NULL AND used_at IS NULL",
            grant.id
        );
        assert_eq!(run(&world, ended).await?, 1);
    }
    assert_eq!(revoke(&world, id(), 60).await?, Revocation::NotFound);
    Ok(())
}

#[tokio::test]
async fn a_standing_tells_the_longest_live_grant_and_the_lists_what_is_active() -> TestResult {
    let world = World::create().await?;
    let vm = world.vm().await?;
    assert_eq!(standing(&world, vm, 60).await?, ConsoleStanding::default());

    let expired = grant(&world, vm, at(-10_000));
    let longest = grant(&world, vm, at(30));
    let shorter = grant(&world, vm, at(0));
    let of_another = NewGrant {
        user_id: world.approver,
        ..grant(&world, vm, at(40))
    };
    for grant in [&expired, &longest, &shorter, &of_another] {
        insert(&world, grant).await?;
    }
    let found = standing(&world, vm, 60).await?;
    assert_eq!(found.live.map(|live| live.id), Some(longest.id));
    assert_eq!(found.granted_at, Some(at(30)));
    assert_eq!(found.asked, None);

    let active = |active: bool, user: Option<UserId>| GrantFilter {
        vm_id: Some(vm),
        user_id: user,
        active: Some(active),
    };
    let live = listed(&world, active(true, Some(world.requester))).await?;
    assert_eq!(live, [(longest.id, 0), (shorter.id, 0)]);
    assert_eq!(listed(&world, active(false, None)).await?, [(expired.id, 0)]);

    revoke(&world, longest.id, 50).await?;
    let found = standing(&world, vm, 60).await?;
    assert_eq!(found.live.map(|live| live.id), Some(shorter.id));
    let ended = listed(&world, active(false, None)).await?;
    assert_eq!(ended, [(longest.id, 0), (expired.id, 0)]);
    assert_eq!(standing(&world, vm, 10_000).await?.live, None);

    let mut work = world.begin().await?;
    let removed = work.upkeep().remove(Transient::ConsoleGrants, at(1_000), 10).await?;
    assert_eq!(removed, 2, "what was revoked or expired, and nothing that lasts");
    Ok(())
}
