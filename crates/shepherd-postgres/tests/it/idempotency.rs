//! The same request is carried out once.

use chrono::TimeDelta;
use serde_json::json;
use shepherd_ports::idempotency::{IdempotentRequest, StoredOutcome};

use crate::TestResult;
use crate::world::{World, at};

#[tokio::test]
async fn a_key_is_claimed_by_one_transaction_at_a_time() -> TestResult {
    let world = World::create().await?;
    let mut first = world.begin().await?;
    let mut second = world.begin().await?;
    assert!(first.idempotency().claim(world.requester, "k").await?);
    assert!(!second.idempotency().claim(world.requester, "k").await?);
    assert!(
        second.idempotency().claim(world.approver, "k").await?,
        "keys are each user's own"
    );
    drop(first);
    // The rollback is carried out when the connection goes back; another transaction on it waits for that.
    let mut third = world.begin().await?;
    while !third.idempotency().claim(world.requester, "k").await? {
        tokio::task::yield_now().await;
    }
    Ok(())
}

#[tokio::test]
async fn an_outcome_is_found_for_a_day_and_then_replaced() -> TestResult {
    let world = World::create().await?;
    let request = |hash: &str| IdempotentRequest {
        user: world.requester,
        key: "k".to_owned(),
        method: "POST",
        path: "/api/v1/vms".to_owned(),
        request_hash: hash.to_owned(),
    };
    let (now, tomorrow) = (at(0), at(0) + TimeDelta::hours(24));
    let mut work = world.begin().await?;
    let keys = work.idempotency();
    assert_eq!(keys.find(world.requester, "k", now).await?, None);
    keys.store(&request("a"), &json!({"n": 1}), now).await?;
    keys.store(&request("b"), &json!({"n": 2}), now).await?;
    let kept = StoredOutcome {
        request_hash: "a".to_owned(),
        body: json!({"n": 1}),
    };
    assert_eq!(keys.find(world.requester, "k", now).await?, Some(kept));
    assert_eq!(keys.find(world.requester, "k", tomorrow).await?, None);
    keys.store(&request("c"), &json!({"n": 3}), tomorrow).await?;
    let replaced = keys.find(world.requester, "k", tomorrow).await?.ok_or("no outcome")?;
    assert_eq!(replaced.request_hash, "c");
    work.commit().await?;
    Ok(())
}
