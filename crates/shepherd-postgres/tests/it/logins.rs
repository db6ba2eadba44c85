//! Attempts to log in: they count from the moment they are reserved, and the lock makes counting and reserving one.

use futures::future::try_join_all;
use shepherd_domain::ids::LoginAttemptId;
use shepherd_ports::identity::{IdentityQueries, LoginSubject};

use crate::TestResult;
use crate::world::{Outcome, World, at, id};

const NAME: LoginSubject<'static> = LoginSubject::Username("digest");
const NETWORK: LoginSubject<'static> = LoginSubject::Ip("192.0.2.1");

async fn reserve(world: &World, subject: LoginSubject<'_>, second: i64) -> Outcome<LoginAttemptId> {
    let attempt = id();
    let mut work = world.begin().await?;
    work.identity().reserve_login(attempt, subject, at(second)).await?;
    work.commit().await?;
    Ok(attempt)
}

async fn forgive(world: &World, attempt: LoginAttemptId) -> Outcome<()> {
    let mut work = world.begin().await?;
    work.identity().forgive_login(attempt).await?;
    Ok(work.commit().await?)
}

#[tokio::test]
async fn a_success_takes_back_what_its_user_name_failed_before() -> TestResult {
    let world = World::create().await?;
    reserve(&world, NAME, 1).await?;
    let right = reserve(&world, NAME, 2).await?;
    reserve(&world, NAME, 3).await?;
    reserve(&world, NAME, 4).await?;
    let all = [at(4), at(3), at(2), at(1)];
    assert_eq!(world.store.login_failures(NAME, at(0)).await?, all, "newest first");
    assert_eq!(world.store.login_failures(NAME, at(3)).await?, all[..2]);

    forgive(&world, right).await?;
    assert_eq!(world.store.login_failures(NAME, at(0)).await?, all[..2]);
    let other = LoginSubject::Username("another digest");
    assert!(world.store.login_failures(other, at(0)).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_success_takes_back_nothing_else_of_its_network() -> TestResult {
    let world = World::create().await?;
    reserve(&world, NETWORK, 1).await?;
    let right = reserve(&world, NETWORK, 2).await?;
    reserve(&world, NETWORK, 3).await?;
    forgive(&world, right).await?;
    assert_eq!(world.store.login_failures(NETWORK, at(0)).await?, [at(3), at(1)]);
    let same_text = LoginSubject::Username("192.0.2.1");
    assert!(world.store.login_failures(same_text, at(0)).await?.is_empty());
    let callbacks = LoginSubject::Callback("192.0.2.1");
    assert!(world.store.login_failures(callbacks, at(0)).await?.is_empty());
    reserve(&world, callbacks, 9).await?;
    assert_eq!(world.store.login_failures(callbacks, at(0)).await?, [at(9)]);
    assert_eq!(world.store.login_failures(NETWORK, at(0)).await?, [at(3), at(1)]);
    Ok(())
}

const LIMIT: usize = 5;

/// Counts and reserves under the locks, as throttling does; answers whether the attempt was let in.
async fn admit(world: &World, second: i64) -> Outcome<bool> {
    let mut work = world.begin().await?;
    for subject in [NAME, NETWORK] {
        work.identity().lock_logins(subject).await?;
    }
    if work.identity().login_failures(NAME, at(0)).await?.len() >= LIMIT {
        return Ok(false);
    }
    for subject in [NAME, NETWORK] {
        work.identity().reserve_login(id(), subject, at(second)).await?;
    }
    work.commit().await?;
    Ok(true)
}

#[tokio::test]
async fn whoever_counts_under_the_locks_lets_exactly_the_limit_in() -> TestResult {
    let world = World::create().await?;
    let admitted = try_join_all((1..=24).map(|second| admit(&world, second))).await?;
    assert_eq!(admitted.iter().filter(|let_in| **let_in).count(), LIMIT);
    assert_eq!(world.store.login_failures(NETWORK, at(0)).await?.len(), LIMIT);
    Ok(())
}

#[tokio::test]
async fn a_user_name_is_folded_as_the_look_up_folds_it() -> TestResult {
    let world = World::create().await?;
    for spelling in ["Rita", "RITA", "rıta", "R\u{130}TA", "ri\u{307}ta", "Ｒita", "Рita"] {
        let found = world.store.credentials(spelling).await?.is_some();
        let folded = world.store.folded_username(spelling).await?;
        assert_eq!(found, folded == "rita", "{spelling} {folded}");
    }
    assert_eq!(world.store.folded_username("' OR 1=1 --").await?, "' or 1=1 --");
    Ok(())
}

#[tokio::test]
async fn a_password_is_proven_as_long_as_its_hash_stands_and_its_user_is_enabled() -> TestResult {
    let world = World::create().await?;
    let mut work = world.begin().await?;
    let identity = work.identity();
    assert!(identity.has_password(world.requester, "hash").await?);
    assert!(!identity.has_password(world.requester, "another").await?);
    assert!(!identity.has_password(id(), "hash").await?);
    identity
        .change_password(world.requester, "hash", "new", world.session, at(1))
        .await?;
    assert!(!identity.has_password(world.requester, "hash").await?);
    assert!(identity.has_password(world.requester, "new").await?);
    Ok(())
}
