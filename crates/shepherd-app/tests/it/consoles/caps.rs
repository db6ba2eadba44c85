//! How many consoles there may be, how many tokens a grant gives, and how much goes through one.

use std::time::Duration;

use futures::future::join_all;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use shepherd_simulator::{FaultEffect, FaultRule};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::browser::{Socket, admitted, answered, ask, enter, greet, knock, opened, refusal};
use super::process::resident_mib;
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World};

/// Open consoles of one user.
const MOST_PER_USER: usize = 5;
/// Tokens of a grant in an hour.
const MOST_TOKENS: i64 = 20;
/// Bytes per second of a machine whose screen never rests.
const RATE: u64 = 8 * 1024 * 1024;
/// What the fast reader reads while the slow one reads nothing, in bytes.
const READ: usize = 32 * 1024 * 1024;
/// How long that may take: several times what it takes at the machine's rate.
const READ_LIMIT: Duration = Duration::from_secs(25);
/// What a replica may hold back for a reader that does not read, in MiB; the kernel's buffers are not in it.
const HELD_MIB: u64 = 16;
/// What may be under way to a reader that does not read, the kernel's buffers included, in bytes.
const UNDER_WAY: i64 = 24 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consoles_have_their_limits_and_do_not_disturb_each_other() {
    let world = World::start().await;
    let vm = world.running_vm("dev").await;
    a_user_has_five(&world, &vm).await;
    a_replica_has_so_many(&world, &vm).await;
    too_large_a_message_ends_its_console_alone(&world, &vm).await;
    a_slow_reader_slows_nobody_else(&world, &vm).await;
    a_grant_gives_twenty_tokens_an_hour(&world, &vm).await;
}

/// Waits until all consoles have ended, which browsers left without a word.
async fn all_ended(world: &World) {
    eventually("all consoles have ended", PATIENCE, async || {
        let open = world.home.count("console_sessions WHERE ended_at IS NULL").await;
        (open == 0).then_some(())
    })
    .await;
}

async fn a_user_has_five(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let mut open = Vec::new();
    for _ in 0..MOST_PER_USER {
        open.push(opened(world, &alice, &world.server, vm).await);
    }
    let token = admitted(&alice, vm).await;
    let refused = refusal(knock(world, &world.server, vm, &token)).await;
    assert!(!refused.header("retry-after").is_empty());
    refused.refused(429, "RATE_LIMIT_EXCEEDED");
    drop(open.pop());
    eventually("a console has ended", PATIENCE, async || {
        let left = world
            .home
            .count("console_sessions WHERE end_reason = 'BROWSER_LEFT'")
            .await;
        (left == 1).then_some(())
    })
    .await;
    // The refusal has not used the token up.
    open.push(enter(world, &world.server, vm, &token).await);
    drop(open);
    all_ended(world).await;
}

async fn a_replica_has_so_many(world: &World, vm: &str) {
    let env = [("CONSOLE_MAX_SESSIONS", "1".to_owned())];
    let narrow = world.start_replica("api", &env).await;
    let alice = world.as_(User::Alice);
    let only = opened(world, &alice, &narrow, vm).await;
    let token = admitted(&alice, vm).await;
    let refused = refusal(knock(world, &narrow, vm, &token)).await;
    assert!(!refused.header("retry-after").is_empty());
    refused.refused(503, "SERVICE_BUSY");
    let elsewhere = enter(world, &world.server, vm, &token).await;
    drop((only, elsewhere));
    let token = admitted(&alice, vm).await;
    let next = eventually("the seat is free again", PATIENCE, async || {
        answered(knock(world, &narrow, vm, &token)).await.ok()
    })
    .await;
    drop(next);
    all_ended(world).await;
}

async fn too_large_a_message_ends_its_console_alone(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let mut quiet = opened(world, &alice, &world.server, vm).await;
    let mut loud = opened(world, &alice, &world.server, vm).await;
    let message = Message::binary(vec![0_u8; 2 * 1024 * 1024]);
    // The server may hang up before all of it is sent, and its goodbye be lost with the rest.
    let sent = timeout(PATIENCE, loud.send(message)).await;
    sent.expect("the server takes it or hangs up").ok();
    let over = async { while let Some(Ok(_)) = loud.next().await {} };
    timeout(PATIENCE, over).await.expect("the server should hang up");
    eventually("the console has ended", PATIENCE, async || {
        let ended = world
            .home
            .count("console_sessions WHERE end_reason = 'PROTOCOL_ERROR'")
            .await;
        (ended == 1).then_some(())
    })
    .await;
    assert!(answers(&mut quiet).await, "the other console goes on");
    drop((quiet, loud));
    all_ended(world).await;
}

/// Whether the machine still shows what is asked for.
async fn answers(socket: &mut Socket) -> bool {
    let whole = vec![3_u8, 0, 0, 0, 0, 0, 1, 64, 0, 200];
    socket.send(Message::binary(whole)).await.unwrap();
    read(socket, 320 * 200 * 4).await
}

/// Reads at least so many bytes; `false` when the console ends before.
async fn read(socket: &mut Socket, wanted: usize) -> bool {
    let mut length = 0;
    let reading = async {
        while length < wanted {
            match socket.next().await {
                Some(Ok(message)) => length += message.len(),
                Some(Err(_)) | None => return false,
            }
        }
        true
    };
    timeout(READ_LIMIT, reading).await.expect("the machine should go on")
}

async fn a_slow_reader_slows_nobody_else(world: &World, vm: &str) {
    let rings = FaultEffect::RingBells { per_second: RATE };
    world.test.faults().inject(FaultRule::always("GET", "/vnc", rings));
    let alice = world.as_(User::Alice);
    let before = resident_mib(&world.server);
    let slow = opened(world, &alice, &world.server, vm).await;
    let mut fast = opened(world, &alice, &world.server, vm).await;
    assert!(read(&mut fast, READ).await, "the fast one gets everything");
    let after = resident_mib(&world.server);
    assert!(after < before + HELD_MIB, "{before} MiB became {after} MiB");
    drop((slow, fast));
    all_ended(world).await;
    let sent = "SELECT bytes_out::text FROM console_sessions ORDER BY started_at DESC, id DESC LIMIT 2";
    let sent = world.home.texts(sent).await;
    let sent: Vec<i64> = sent.iter().map(|bytes| bytes.parse().unwrap()).collect();
    assert!(sent[0] >= READ as i64, "{sent:?}");
    assert!(sent[1] < UNDER_WAY, "{sent:?}");
    world.test.faults().clear();
}

async fn a_grant_gives_twenty_tokens_an_hour(world: &World, vm: &str) {
    let alice = world.as_(User::Alice);
    let given = admitted(&alice, vm).await;
    let used = format!(
        "INSERT INTO vnc_access_tokens (token_id, grant_id, session_id, user_id, vm_id, issued_at, expires_at, used_at) \
         SELECT gen_random_uuid(), t.grant_id, t.session_id, t.user_id, t.vm_id, now(), now() + interval '1 hour', now() \
         FROM (SELECT * FROM vnc_access_tokens WHERE used_at IS NULL AND revoked_at IS NULL) AS t, \
             generate_series(1, {MOST_TOKENS} - (SELECT count(*) FROM vnc_access_tokens)) RETURNING token_id::text"
    );
    world.home.texts(&used).await;
    assert_eq!(world.home.count("vnc_access_tokens").await, MOST_TOKENS);
    // The one that is there is sent again as often as it is asked for.
    let again = join_all((0..3).map(|_| ask(&alice, vm))).await;
    assert!(again.iter().all(|reply| reply.status == 200), "{again:?}");
    let mut socket = enter(world, &world.server, vm, &given).await;
    greet(&mut socket).await;
    let refused = ask(&alice, vm).await;
    assert!(!refused.header("retry-after").is_empty());
    assert!(refused.headers.get("set-cookie").is_none());
    let limit = refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(limit["limit_type"], json!("console_tokens"));
    let status = alice.get(&format!("/vms/{vm}/console/status")).await;
    status.refused(429, "RATE_LIMIT_EXCEEDED");
    assert_eq!(world.home.count("vnc_access_tokens").await, MOST_TOKENS);
}
