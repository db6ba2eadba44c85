//! One-time passwords of guests: kept once, taken once, erased in time.

use chrono::TimeDelta;
use sea_orm::ConnectionTrait as _;
use shepherd_domain::ActorId;
use shepherd_domain::ids::VmId;
use shepherd_ports::credentials::{CredentialHash, CredentialQueries as _, NewCredential, TakenPassword};
use shepherd_ports::crypto::Sealed;
use shepherd_ports::encryption_keys::EncryptionKeyQueries as _;

use crate::world::{Outcome, World, at};

/// Parallel attempts to take one password.
const ROUNDS: usize = 100;

fn credential(vm: VmId, password: u8) -> NewCredential {
    let sealed = |byte: u8| Sealed {
        bytes: vec![byte; 3],
        key_id: "k1".to_owned(),
    };
    NewCredential {
        vm_id: vm,
        username: "cloud-user".to_owned(),
        password: sealed(password),
        hash: sealed(password + 100),
        expires_at: at(3600),
    }
}

async fn insert(world: &World, credential: &NewCredential) -> Outcome<bool> {
    let mut work = world.begin().await?;
    let inserted = work.credentials().insert(credential).await?;
    work.commit().await?;
    Ok(inserted)
}

async fn take(world: &World, vm: VmId, seconds: i64) -> Outcome<Option<TakenPassword>> {
    let mut work = world.begin().await?;
    let by = ActorId::user(world.requester);
    let taken = work.credentials().take_password(vm, &by, at(seconds)).await?;
    work.commit().await?;
    Ok(taken)
}

fn taken(byte: u8) -> Option<TakenPassword> {
    Some(TakenPassword {
        username: "cloud-user".to_owned(),
        password: vec![byte; 3],
    })
}

#[tokio::test]
async fn a_password_is_kept_once_and_its_hash_outlives_it() -> Outcome<()> {
    let world = World::create().await?;
    let vm = world.vm().await?;
    assert_eq!(world.store.credential_hash(vm).await?, None);
    assert!(insert(&world, &credential(vm, 1)).await?);
    assert!(!insert(&world, &credential(vm, 2)).await?, "the first one counts");
    assert_eq!(take(&world, vm, 3600).await?, None, "its time is over");
    assert_eq!(take(&world, vm, 3599).await?, taken(1));
    assert_eq!(take(&world, vm, 0).await?, None);

    let stored = |hash| CredentialHash {
        username: "cloud-user".to_owned(),
        hash,
    };
    assert_eq!(world.store.credential_hash(vm).await?, Some(stored(Some(vec![101; 3]))));
    let sealed = world.store.sealed_by_others("k-other", None, 10).await?;
    let columns: Vec<_> = sealed
        .iter()
        .filter(|value| value.place.table == "vm_initial_credentials")
        .map(|value| (value.place.column, value.place.row.clone()))
        .collect();
    // The kubeconfig of the cluster comes first, one column at a time.
    assert!(columns.is_empty(), "{columns:?}");
    let after = sealed.last().map(|value| value.place.clone());
    let sealed = world.store.sealed_by_others("k-other", after.as_ref(), 10).await?;
    let found: Vec<_> = sealed
        .iter()
        .map(|value| (value.place.column, &value.place.row))
        .collect();
    assert_eq!(
        found,
        [("hash", &vm.to_string())],
        "the password is gone, its hash is not"
    );

    let mut work = world.begin().await?;
    work.credentials().forget_hash(vm).await?;
    work.commit().await?;
    assert_eq!(world.store.credential_hash(vm).await?, Some(stored(None)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_take_a_password_one_gets_it_and_a_rollback_loses_nothing() -> Outcome<()> {
    let world = World::create().await?;
    let vm = world.vm().await?;
    assert!(insert(&world, &credential(vm, 1)).await?);
    let mut work = world.begin().await?;
    let by = ActorId::user(world.requester);
    assert!(work.credentials().take_password(vm, &by, at(0)).await?.is_some());
    drop(work);

    for round in 0..ROUNDS {
        let (one, other) = tokio::join!(take(&world, vm, 0), take(&world, vm, 0));
        let got = [one?, other?].into_iter().flatten().count();
        assert_eq!(got, 1, "round {round}");
        let again = "UPDATE vm_initial_credentials SET password = '\\x010101', password_key_id = 'k1', \
             revealed_at = NULL, revealed_by = NULL";
        world.store.connection().execute_unprepared(again).await?;
    }
    Ok(())
}

#[tokio::test]
async fn passwords_whose_time_is_over_are_erased_a_batch_at_a_time() -> Outcome<()> {
    let world = World::create().await?;
    let mut machines = Vec::new();
    for number in 1..=3_u8 {
        let vm = world.vm().await?;
        let expires_at = at(0) + TimeDelta::seconds(i64::from(number));
        let credential = NewCredential {
            expires_at,
            ..credential(vm, number)
        };
        assert!(insert(&world, &credential).await?);
        machines.push(vm);
    }
    let mut work = world.begin().await?;
    assert_eq!(work.credentials().erase_expired(at(2), 1).await?, 1, "one batch");
    assert_eq!(work.credentials().erase_expired(at(2), 10).await?, 1);
    assert_eq!(work.credentials().erase_expired(at(2), 10).await?, 0);
    work.commit().await?;
    let kept = machines.last().copied().ok_or("no machine")?;
    assert_eq!(take(&world, kept, 2).await?, taken(3));
    Ok(())
}
