//! A token opens a console once, a grant has one unused token at most, and what a dead replica left open ends.

use futures::future::join_all;
use shepherd_domain::Environment;
use shepherd_domain::ids::{ConsoleGrantId, ConsoleTokenId, UserId, VmId};
use shepherd_ports::consoles::NewGrant;
use shepherd_ports::consoles::tokens::{ConsoleTokenQueries as _, NewConsoleSession, NewToken, Relayed};

use crate::TestResult;
use crate::world::{Outcome, World, at, id, system_actor};

/// Browsers that come with the same token at the same time.
const VISITORS: usize = 50;
/// Requests for a token of the same grant at the same time.
const ISSUES: usize = 20;
/// Open consoles of one user.
const MOST: i64 = 5;

async fn grant(world: &World) -> Outcome<NewGrant> {
    let grant = NewGrant {
        id: id(),
        vm_id: world.vm().await?,
        user_id: world.requester,
        environment: Environment::Test,
        ticket_id: None,
        granted_by: system_actor(),
        granted_at: at(0),
        expires_at: at(7200),
    };
    let mut work = world.begin().await?;
    work.consoles().insert(&grant).await?;
    work.commit().await?;
    Ok(grant)
}

fn token(world: &World, grant: &NewGrant, seconds: i64) -> NewToken {
    NewToken {
        token_id: id(),
        grant_id: grant.id,
        session_id: world.session,
        user_id: grant.user_id,
        vm_id: grant.vm_id,
        issued_at: at(seconds),
        expires_at: at(seconds + 3600),
    }
}

/// The unused token of a grant, as long as it is valid, and else a new one: as the use case does it.
async fn issue(world: &World, grant: &NewGrant, seconds: i64) -> Outcome<ConsoleTokenId> {
    let mut work = world.begin().await?;
    let tokens = work.console_tokens();
    tokens.lock_grant(grant.id).await?.ok_or("no grant")?;
    if let Some(unused) = tokens.unused(grant.id).await?
        && unused.expires_at > at(seconds)
    {
        return Ok(unused.token_id);
    }
    let token = token(world, grant, seconds);
    tokens.issue(&token, &system_actor()).await?;
    work.commit().await?;
    Ok(token.token_id)
}

async fn consume(world: &World, token: ConsoleTokenId, vm: VmId, seconds: i64) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let used = work.console_tokens().consume(token, vm, at(seconds)).await?;
    work.commit().await?;
    Ok(used)
}

fn console(token: ConsoleTokenId, grant: &NewGrant, seconds: i64) -> NewConsoleSession {
    NewConsoleSession {
        id: id(),
        token_id: token,
        grant_id: grant.id,
        user_id: grant.user_id,
        vm_id: grant.vm_id,
        replica: "replica-1".to_owned(),
        started_at: at(seconds),
    }
}

/// Opens a console unless the user has too many of them; `false` then.
async fn open(world: &World, grant: &NewGrant) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let tokens = work.console_tokens();
    tokens.hold_consoles(grant.user_id).await?;
    if tokens.open_consoles(grant.user_id, at(0)).await? >= MOST {
        return Ok(false);
    }
    tokens.open_console(&console(id(), grant, 60)).await?;
    work.commit().await?;
    Ok(true)
}

async fn open_ones(world: &World, user: UserId, seen_since: i64) -> Outcome<i64> {
    let mut work = world.begin().await?;
    Ok(work.console_tokens().open_consoles(user, at(seen_since)).await?)
}

async fn issues(world: &World, grant: ConsoleGrantId, after: i64) -> Outcome<i64> {
    let mut work = world.begin().await?;
    Ok(work.console_tokens().issued_after(grant, at(after)).await?.count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_come_with_one_token_one_gets_in() -> TestResult {
    let world = World::create().await?;
    let grant = grant(&world).await?;
    let token = issue(&world, &grant, 0).await?;
    assert!(!consume(&world, token, id(), 1).await?, "of another machine");
    assert!(!consume(&world, token, grant.vm_id, 3600).await?, "expired");

    let visits = (0..VISITORS).map(|_| consume(&world, token, grant.vm_id, 1));
    let used = join_all(visits).await.into_iter().collect::<Outcome<Vec<_>>>()?;
    assert_eq!(used.into_iter().filter(|used| *used).count(), 1);
    let stored = world.store.get_console_token(token).await?.ok_or("no token")?;
    assert_eq!((stored.used_at, stored.revoked_at), (Some(at(1)), None));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_has_one_unused_token() -> TestResult {
    let world = World::create().await?;
    let grant = grant(&world).await?;
    let issued = join_all((0..ISSUES).map(|_| issue(&world, &grant, 0))).await;
    let mut issued = issued.into_iter().collect::<Outcome<Vec<_>>>()?;
    issued.dedup();
    let [first] = issued[..] else {
        return Err(format!("several tokens: {issued:?}").into());
    };

    // After its time it makes room in the statement that brings the next one.
    let second = issue(&world, &grant, 3600).await?;
    assert_ne!(first, second);
    let closed = world.store.get_console_token(first).await?.ok_or("no token")?;
    assert_eq!(closed.revoked_at, Some(at(3600)));
    assert!(!consume(&world, first, grant.vm_id, 1).await?, "it was closed");
    assert!(consume(&world, second, grant.vm_id, 3601).await?);
    let third = issue(&world, &grant, 3602).await?;
    assert_ne!(second, third, "a used one is not sent again");
    assert_eq!(issues(&world, grant.id, -1).await?, 3);
    assert_eq!(issues(&world, grant.id, 3600).await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_so_many_consoles_and_lost_ones_do_not_count() -> TestResult {
    let world = World::create().await?;
    let grant = grant(&world).await?;
    let opened = join_all((0..ISSUES).map(|_| open(&world, &grant))).await;
    let opened = opened.into_iter().collect::<Outcome<Vec<_>>>()?;
    let opened = opened.into_iter().filter(|opened| *opened).count();
    assert_eq!(i64::try_from(opened)?, MOST);

    let alive = console(id(), &grant, 60);
    let mut work = world.begin().await?;
    work.console_tokens().open_console(&alive).await?;
    work.commit().await?;
    let relayed = Relayed {
        bytes_in: 3,
        bytes_out: 5,
    };
    let noted = world.store.note_console(alive.id, relayed, at(300)).await?;
    assert_eq!(noted.map(|grant| grant.expires_at), Some(at(7200)));
    assert_eq!(open_ones(&world, grant.user_id, 60).await?, MOST + 1);
    assert_eq!(
        open_ones(&world, grant.user_id, 180).await?,
        1,
        "one gave a sign of life"
    );

    let mut work = world.begin().await?;
    let lost = work.console_tokens().end_lost(at(180), "REPLICA_LOST", 100).await?;
    work.commit().await?;
    assert_eq!(i64::try_from(lost.len())?, MOST);
    assert!(
        lost.iter()
            .all(|lost| lost.ended_at == at(60) && lost.environment == Environment::Test)
    );
    assert_eq!(open_ones(&world, grant.user_id, 0).await?, 1);

    let mut work = world.begin().await?;
    let tokens = work.console_tokens();
    assert!(tokens.end_console(alive.id, "BROWSER_LEFT", relayed, at(301)).await?);
    assert!(!tokens.end_console(alive.id, "SHUTDOWN", relayed, at(302)).await?);
    work.commit().await?;
    assert_eq!(world.store.note_console(alive.id, relayed, at(303)).await?, None);
    Ok(())
}
