//! Many submissions at once, by one user and by many: no limit is ever exceeded, whoever is turned away is told the
//! truth, and what administrators agree with a user holds from the next submission on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};

use super::{BATCHES, creation, everything_adds_up};
use crate::client::{Caller, Reply, send};
use crate::server::Replica;
use crate::world::{PASSWORD, Person, User, World, log_in};

/// Submissions at once.
const FLOOD: usize = 200;
/// Users who send them, each as many.
const CROWD: usize = 50;
/// Logins at once.
const LOGINS: usize = 4;
const MAX_PARENTS: i64 = 3;
const MAX_CHILDREN: i64 = 8;
const MAX_GLOBAL: i64 = 40;
const OPEN: &str = "('PENDING_APPROVAL', 'IN_PROGRESS')";
const EXEMPTIONS: &str = "/admin/rate-limits/exemptions";
const STATUS: &str = "/admin/rate-limits/status";
/// How often the limits are looked at while a flood runs.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

fn settings(numbers: [(&'static str, String); 4]) -> Vec<(&'static str, String)> {
    numbers.into()
}

fn tight() -> Vec<(&'static str, String)> {
    settings([
        ("BATCH_USER_COOLDOWN", "0s".to_owned()),
        ("BATCH_MAX_USER_PENDING_PARENTS", MAX_PARENTS.to_string()),
        ("BATCH_MAX_USER_PENDING_CHILDREN", MAX_CHILDREN.to_string()),
        ("BATCH_MAX_GLOBAL_PENDING_PARENTS", MAX_GLOBAL.to_string()),
    ])
}

/// Nothing but the time between two submissions is limited.
fn unhurried() -> Vec<(&'static str, String)> {
    settings([
        ("BATCH_USER_COOLDOWN", "1h".to_owned()),
        ("BATCH_MAX_USER_PENDING_PARENTS", "100".to_owned()),
        ("BATCH_MAX_USER_PENDING_CHILDREN", "1000".to_owned()),
        ("BATCH_MAX_GLOBAL_PENDING_PARENTS", "1000".to_owned()),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flood_gets_past_a_limit_and_waiting_as_told_helps() {
    let world = World::with("api,controllers", &tight()).await;
    let other = world.start_replica("api", &tight()).await;
    let (crowd, late) = crowd(&world).await;
    one_user_floods(&world, &other).await;
    a_crowd_floods(&world, &other, &crowd).await;
    the_status_is_what_is_stored(&world, &crowd[0]).await;
    for replica in [&world.server, &other] {
        assert!(!replica.log_text().contains("deadlock detected"));
    }
    let unhurried = world.start_replica("api", &unhurried()).await;
    let late = Late {
        caller: world.caller(&late),
        id: late.id,
    };
    waiting_as_told_helps(&world, &late, &unhurried).await;
    what_is_agreed_holds_at_once(&world, &late, &unhurried).await;
    nobody_is_exempt_from_the_limits_of_the_platform(&world, &late).await;
    everything_adds_up(&world).await;
}

/// Somebody who was not in the crowd.
struct Late {
    caller: Caller,
    id: String,
}

/// Users like Alice, with her password and her rights; the last one apart from the others.
async fn crowd(world: &World) -> (Vec<Person>, Person) {
    let alice = world.id(User::Alice);
    let users = format!(
        "INSERT INTO users SELECT (jsonb_populate_record(u, jsonb_build_object('id', gen_random_uuid(), \
             'username', 'crowd-' || n, 'email', NULL))).* \
         FROM users u, generate_series(0, {CROWD}) AS n WHERE u.id = '{alice}' \
         RETURNING username || ' ' || id::text"
    );
    let users = world.home.texts(&users).await;
    for bindings in ["role_bindings", "resource_role_bindings"] {
        let copies = format!(
            "INSERT INTO {bindings} SELECT (jsonb_populate_record(b, \
                 jsonb_build_object('id', gen_random_uuid(), 'user_id', u.id))).* \
             FROM {bindings} b, users u WHERE b.user_id = '{alice}' AND u.username LIKE 'crowd-%' RETURNING id::text"
        );
        assert!(world.home.texts(&copies).await.len() > CROWD);
    }
    let mut people = Vec::new();
    for some in users.chunks(LOGINS) {
        let logins = some.iter().map(|user| async move {
            let (name, id) = user.split_once(' ').expect("a name and an id");
            Person {
                id: id.to_owned(),
                token: log_in(&world.anonymous(), name, PASSWORD).await,
            }
        });
        people.extend(join_all(logins).await);
    }
    let late = people.pop().expect("somebody");
    (people, late)
}

async fn one_user_floods(world: &World, other: &Replica) {
    let alice = world.as_(User::Alice);
    let callers = [alice.clone(), alice.at(other)];
    let bodies = [1, 2, 3].map(|count| creation(world, count));
    let flood = (0..FLOOD).map(|call| callers[call % 2].post(BATCHES, &bodies[call % 3]));
    let (accepted, limits) = outcome(watched(world, join_all(flood)).await);
    assert!(accepted > 0, "{limits:?}");
    let known = BTreeSet::from(["SERVICE_BUSY", "user_pending_parents", "user_pending_children"]);
    assert!(limits.keys().all(|limit| known.contains(limit.as_str())), "{limits:?}");
    let stored = format!("batch_approval_tickets WHERE created_by = '{}'", world.id(User::Alice));
    assert_eq!(world.home.count(&stored).await, accepted, "{limits:?}");
}

async fn a_crowd_floods(world: &World, other: &Replica, crowd: &[Person]) {
    let body = creation(world, 2);
    let callers: Vec<Caller> = crowd.iter().map(|person| world.caller(person)).collect();
    let elsewhere: Vec<Caller> = callers.iter().map(|caller| caller.at(other)).collect();
    let flood = (0..FLOOD).map(|call| {
        let callers = if (call / CROWD).is_multiple_of(2) {
            &callers
        } else {
            &elsewhere
        };
        callers[call % CROWD].post(BATCHES, &body)
    });
    let before = world.home.count("batch_approval_tickets").await;
    let (accepted, limits) = outcome(watched(world, join_all(flood)).await);
    let open = world.home.count("batch_approval_tickets").await;
    assert_eq!(open, before + accepted, "{limits:?}");
    if !limits.contains_key("SERVICE_BUSY") {
        assert_eq!(open, MAX_GLOBAL, "as many as there may be: {limits:?}");
    }
    let known = BTreeSet::from([
        "SERVICE_BUSY",
        "global_pending_parents",
        "user_pending_parents",
        "user_pending_children",
    ]);
    assert!(limits.keys().all(|limit| known.contains(limit.as_str())), "{limits:?}");
    let counted = "SELECT coalesce(sum(current_value), 0)::text FROM rate_limit_counters";
    let counted: i64 = world.home.texts(counted).await[0].parse().expect("a number");
    let refused: i64 = limits
        .iter()
        .filter(|(limit, _)| *limit != "SERVICE_BUSY")
        .map(|(_, times)| times)
        .sum();
    assert!(counted >= accepted + refused, "refused attempts count: {counted}");
}

/// Does something while the limits are looked at again and again.
async fn watched<T>(world: &World, doing: impl Future<Output = T>) -> T {
    let done = AtomicBool::new(false);
    let watching = async {
        let mut looks = 0;
        while !done.load(Ordering::Relaxed) {
            nobody_has_too_much(world).await;
            looks += 1;
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        looks
    };
    let doing = async {
        let outcome = doing.await;
        done.store(true, Ordering::Relaxed);
        outcome
    };
    let (outcome, looks) = join(doing, watching).await;
    assert!(looks > 1, "nobody looked");
    nobody_has_too_much(world).await;
    outcome
}

async fn nobody_has_too_much(world: &World) {
    let greedy = format!(
        "(SELECT FROM batch_approval_tickets b JOIN approval_tickets c ON c.parent_ticket_id = b.id \
             AND c.status IN ('PENDING_APPROVAL', 'APPROVED', 'EXECUTING') \
         WHERE b.status IN {OPEN} GROUP BY b.created_by \
         HAVING count(DISTINCT b.id) > {MAX_PARENTS} OR count(*) > {MAX_CHILDREN}) AS greedy"
    );
    assert_eq!(world.home.count(&greedy).await, 0, "a user has too much");
    let all = format!("batch_approval_tickets WHERE status IN {OPEN}");
    assert!(world.home.count(&all).await <= MAX_GLOBAL, "all have too much");
}

/// How many were accepted, and how often which limit refused one.
fn outcome(replies: Vec<Reply>) -> (i64, BTreeMap<String, i64>) {
    let mut accepted = 0;
    let mut limits = BTreeMap::new();
    for reply in replies {
        if reply.status == 202 {
            accepted += 1;
            continue;
        }
        let limit = if reply.status == 503 {
            reply.refused(503, "SERVICE_BUSY");
            "SERVICE_BUSY".to_owned()
        } else {
            too_much(reply).limit
        };
        *limits.entry(limit).or_insert(0) += 1;
    }
    (accepted, limits)
}

/// What somebody is told who is turned away.
#[derive(Debug)]
struct Told {
    limit: String,
    current: i64,
    max: i64,
    wait: u64,
}

#[track_caller]
fn too_much(reply: Reply) -> Told {
    let header: u64 = reply.header("retry-after").parse().expect("seconds to wait");
    let params = reply.refused(429, "RATE_LIMIT_EXCEEDED");
    let limit = params["limit_type"].as_str().unwrap_or_default().to_owned();
    let keys = params.as_object().into_iter().flatten();
    let told: BTreeSet<&str> = keys.map(|(key, _)| key.as_str()).collect();
    let expected = [
        "contact_admin",
        "current_value",
        "limit_type",
        "max_value",
        "retry_after",
    ];
    assert_eq!(told, BTreeSet::from(expected), "{params}");
    assert!(
        header > 0 && params["retry_after"] == json!(header),
        "{params}, header {header}"
    );
    assert_eq!(params["contact_admin"], json!(limit.starts_with("user_")), "{params}");
    let number = |name: &str| params[name].as_i64().expect("a number");
    Told {
        current: number("current_value"),
        max: number("max_value"),
        wait: header,
        limit,
    }
}

async fn status_of(world: &World, user: &str) -> Value {
    let path = format!("{STATUS}?user_id={user}");
    let status = world.as_(User::Admin).get(&path).await.ok(200);
    status["items"][0].clone()
}

async fn the_status_is_what_is_stored(world: &World, person: &Person) {
    let open = format!("batch_approval_tickets WHERE status IN {OPEN}");
    let own = format!("{open} AND created_by = '{}'", person.id);
    let children = format!(
        "approval_tickets WHERE status = 'PENDING_APPROVAL' AND parent_ticket_id IS NOT NULL AND requester_id = '{}'",
        person.id
    );
    let (parents, children) = (world.home.count(&own).await, world.home.count(&children).await);
    let status = status_of(world, &person.id).await;
    if parents == 0 {
        assert!(status.is_null(), "{status}");
        return;
    }
    for (name, expected) in [
        ("user_id", json!(person.id)),
        ("exempted", json!(false)),
        ("effective_max_pending_parents", json!(MAX_PARENTS)),
        ("effective_max_pending_children", json!(MAX_CHILDREN)),
        ("effective_cooldown_seconds", json!(0)),
        ("current_pending_parents", json!(parents)),
        ("current_pending_children", json!(children)),
        ("cooldown_remaining_seconds", json!(0)),
    ] {
        assert_eq!(status[name], expected, "{name} of {status}");
    }
    let listed = world.as_(User::Admin).get(STATUS).await.ok(200);
    let users = format!("(SELECT DISTINCT created_by FROM {open}) AS users");
    let users = world.home.count(&users).await;
    assert_eq!(listed["items"].as_array().map(Vec::len), usize::try_from(users).ok());
}

/// Of several at once one is accepted; exactly as long as the others are told to wait, the next one is.
async fn waiting_as_told_helps(world: &World, late: &Late, unhurried: &Replica) {
    let body = creation(world, 1);
    let caller = late.caller.at(unhurried);
    let (accepted, limits) = outcome(join_all((0..10).map(|_| caller.post(BATCHES, &body))).await);
    assert_eq!(accepted, 1, "{limits:?}");
    for _ in 0..2 {
        let told = too_much(caller.post(BATCHES, &body).await);
        assert_eq!((told.limit.as_str(), told.max), ("user_cooldown", 3600), "{told:?}");
        assert!((3500..=3600).contains(&told.wait), "{told:?}");
        let waited = format!(
            "UPDATE batch_approval_tickets SET created_at = created_at - interval '{} seconds' \
             WHERE created_by = '{}' RETURNING 'waited'",
            told.wait, late.id
        );
        assert!(!world.home.texts(&waited).await.is_empty());
        caller.post(BATCHES, &body).await.ok(202);
    }
}

async fn agree(world: &World, late: &Late, numbers: Value) {
    let path = format!("/admin/rate-limits/users/{}", late.id);
    let request = world.as_(User::Admin).request(Method::PUT, &path).json(&numbers);
    send(request).await.ok(200);
}

async fn exempt(world: &World, late: &Late) {
    let body = json!({"user_id": late.id, "reason": "moves the shop"});
    world.as_(User::Admin).post(EXEMPTIONS, &body).await.ok(200);
}

async fn what_is_agreed_holds_at_once(world: &World, late: &Late, unhurried: &Replica) {
    let caller = late.caller.at(unhurried);
    let body = creation(world, 1);
    let submit = async || caller.post(BATCHES, &body).await;
    agree(world, late, json!({"cooldown_seconds": 3600})).await;
    let told = too_much(submit().await);
    assert_eq!((told.limit.as_str(), told.max), ("user_cooldown", 3600), "{told:?}");
    assert!((3500..=3600).contains(&told.wait), "{told:?}");
    exempt(world, late).await;
    submit().await.ok(202);
    submit().await.ok(202);
    let status = status_of(world, &late.id).await;
    assert_eq!(
        (&status["exempted"], &status["cooldown_remaining_seconds"]),
        (&json!(true), &json!(0))
    );

    // Nobody has to clean up for it to count no more.
    let expire = format!(
        "UPDATE rate_limit_exemptions SET expires_at = now() - interval '1 second' WHERE user_id = '{}' \
         RETURNING user_id::text",
        late.id
    );
    assert_eq!(world.home.texts(&expire).await, [late.id.as_str()]);
    assert_eq!(too_much(submit().await).limit, "user_cooldown");
    assert_eq!(status_of(world, &late.id).await["exempted"], false);
    exempt(world, late).await;
    submit().await.ok(202);
    let path = format!("{EXEMPTIONS}/{}", late.id);
    world.as_(User::Admin).delete(&path).await.ok(204);
    assert_eq!(too_much(submit().await).limit, "user_cooldown");

    agree(world, late, json!({"cooldown_seconds": 0})).await;
    submit().await.ok(202);
    agree(world, late, json!({"max_pending_children": 7})).await;
    let told = too_much(submit().await);
    assert_eq!(
        (told.limit.as_str(), told.current, told.max),
        ("user_pending_children", 7, 7)
    );
    agree(world, late, json!({"max_pending_parents": 2})).await;
    let told = too_much(submit().await);
    assert_eq!(
        (told.limit.as_str(), told.current, told.max),
        ("user_pending_parents", 7, 2)
    );
    assert_eq!(told.wait, 60);
    agree(
        world,
        late,
        json!({"max_pending_children": null, "max_pending_parents": null}),
    )
    .await;
    submit().await.ok(202);
}

async fn nobody_is_exempt_from_the_limits_of_the_platform(world: &World, late: &Late) {
    exempt(world, late).await;
    let body = creation(world, 1);
    let told = too_much(until_refused(&late.caller, &body).await);
    assert_eq!((told.limit.as_str(), told.max), ("global_pending_parents", MAX_GLOBAL));
    assert!(told.current >= MAX_GLOBAL, "{told:?}");

    let mut env = unhurried();
    env.push(("BATCH_MAX_GLOBAL_PER_MINUTE", "1".to_owned()));
    let slow = world.start_replica("api", &env).await;
    // The first one of a minute is accepted.
    let before = now(world).await;
    let reply = until_refused(&late.caller.at(&slow), &body).await;
    let after = now(world).await;
    let told = too_much(reply);
    assert_eq!((told.limit.as_str(), told.max), ("global_request_rate", 1));
    assert!(told.current > 1, "{told:?}");
    let ends_a_minute = |second: u64| [58, 59, 0, 1, 2].contains(&((told.wait + second) % 60));
    assert!(
        (before..=after).any(ends_a_minute),
        "{told:?} between {before} and {after}"
    );
}

/// Seconds by the clock of the database.
async fn now(world: &World) -> u64 {
    let now = "SELECT floor(extract(epoch FROM now()))::bigint::text";
    world.home.texts(now).await[0].parse().expect("a number")
}

/// Submits until that is refused.
async fn until_refused(caller: &Caller, body: &Value) -> Reply {
    loop {
        let reply = caller.post(BATCHES, body).await;
        if reply.status != 202 {
            return reply;
        }
    }
}
