//! The one-time password of a guest: who is shown it, how often, and where else it is to be found, which is nowhere.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};

use crate::client::{Caller, Reply, send};
use crate::crashes::{die_at, queue};
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::upkeep;
use crate::world::{User, World, text};

const MACHINE: &str = "dev-shop-web-01";
const NOT_AVAILABLE: &str = "INITIAL_PASSWORD_NOT_AVAILABLE";
/// Pairs of reveals at the same time.
const ROUNDS: usize = 100;
/// Letters of a password.
const LENGTH: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_is_shown_the_password_once_and_it_is_nowhere_else() {
    let world = World::with(ALL_ROLES, &[("LOG_LEVEL", "debug".to_owned())]).await;
    let vm = world.running_vm("dev").await;
    let hash = hash_on_the_cluster(&world, MACHINE);
    let kept = sealed(&world, &vm).await;

    others_are_refused(&world, &vm).await;
    let password = shown_once(&world, &vm).await;
    assert!(matches(&password, &hash), "the guest has another password");
    assert_eq!(password.len(), LENGTH);
    nothing_leaks(&world, &vm, &password, &hash).await;

    one_of_two_gets_it(&world, &vm, &kept, &password).await;
    survives_what_cannot_be_opened(&world, &vm, &kept).await;
    opens_after_a_rotation(&world, &vm, &kept, &password).await;
    expires(&world, &vm, &kept).await;
    a_template_may_do_without(&world).await;
    goes_with_the_machine(&world, &vm).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_that_is_repeated_after_the_password_was_shown_gives_the_guest_the_same() {
    let world = World::with("api,controllers", &[]).await;
    let ticket = world.request_vm("dev").await;
    world.approve(&ticket).await;
    die_at(&world, "applied").await;
    let vm = world.vm_of(&ticket).await;
    let before = secret(&world, MACHINE);
    let password = text(&reveal(&world.as_(User::Alice), &vm).await.ok(200)["password"]);
    assert_eq!(world.home.count(KEPT_HASHES).await, 1);

    let successor = world.start_replica("worker", &queue()).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    world.wait_for_queue().await;
    assert_eq!(secret(&world, MACHINE)["data"], before["data"]);
    assert!(matches(&password, &hash_on_the_cluster(&world, MACHINE)));
    assert_eq!(world.home.count(KEPT_HASHES).await, 0, "nobody needs the hash any more");
    drop(successor);
}

const KEPT_HASHES: &str = "vm_initial_credentials WHERE hash IS NOT NULL";

async fn reveal(caller: &Caller, vm: &str) -> Reply {
    send(caller.request(Method::POST, &format!("/vms/{vm}/initial-password"))).await
}

async fn others_are_refused(world: &World, vm: &str) {
    for user in [User::Mallory, User::Carol] {
        reveal(&world.as_(user), vm).await.refused(404, "VM_NOT_FOUND");
    }
    // Whoever sees the machine is told that it is there, and an administrator is no exception.
    let colleague = world.enrol("cora", "role-operator", &["test"]).await;
    let path = format!("/systems/{}/members", world.system);
    let admin = world.as_(User::Admin);
    admin
        .post(&path, &json!({"user_id": colleague.id, "role": "admin"}))
        .await
        .ok(201);
    for caller in [world.caller(&colleague), admin] {
        reveal(&caller, vm).await.refused(403, "FORBIDDEN");
    }
}

/// A key does not bring the answer back.
async fn shown_once(world: &World, vm: &str) -> String {
    let ask = || {
        let request = world
            .as_(User::Alice)
            .request(Method::POST, &format!("/vms/{vm}/initial-password"));
        send(request.header("idempotency-key", "show-it-again"))
    };
    let shown = ask().await;
    assert_eq!(shown.header("cache-control"), "no-store");
    let shown = shown.ok(200);
    assert_eq!(shown["username"], "cloud-user");
    for _ in 0..2 {
        let refusal = ask().await.refused(404, NOT_AVAILABLE);
        assert_eq!(refusal["id"], vm);
    }
    let revealed = "vm_initial_credentials WHERE revealed_at IS NOT NULL AND password IS NULL";
    assert_eq!(world.home.count(revealed).await, 1);
    assert_eq!(reveals(world).await, 1);
    text(&shown["password"])
}

async fn reveals(world: &World) -> i64 {
    world
        .home
        .count("audit_logs WHERE action = 'vm.initial_password_reveal' AND outcome = 'success'")
        .await
}

/// The sealed password of a machine and its key, as literals of SQL.
async fn sealed(world: &World, vm: &str) -> String {
    let query = format!(
        "SELECT '''\\x' || encode(password, 'hex') || '''::bytea, ''' || password_key_id || '''' \
         FROM vm_initial_credentials WHERE vm_id = '{vm}'"
    );
    world.home.texts(&query).await.pop().expect("a sealed password")
}

/// Puts a sealed password back, as if it had never been shown.
async fn restore(world: &World, vm: &str, kept: &str) {
    let update = format!(
        "UPDATE vm_initial_credentials SET (password, password_key_id) = ({kept}), revealed_at = NULL, revealed_by = NULL \
         WHERE vm_id = '{vm}' RETURNING username"
    );
    assert_eq!(world.home.texts(&update).await.len(), 1);
}

async fn one_of_two_gets_it(world: &World, vm: &str, kept: &str, password: &str) {
    let alice = world.as_(User::Alice);
    let before = reveals(world).await;
    for round in 1..=ROUNDS {
        restore(world, vm, kept).await;
        let (one, other) = join(reveal(&alice, vm), reveal(&alice, vm)).await;
        let (shown, refused) = if one.status == 200 { (one, other) } else { (other, one) };
        assert_eq!(shown.ok(200)["password"], password, "round {round}");
        refused.refused(404, NOT_AVAILABLE);
    }
    assert_eq!(reveals(world).await - before, i64::try_from(ROUNDS).unwrap());
}

async fn survives_what_cannot_be_opened(world: &World, vm: &str, kept: &str) {
    let damaged = kept.replacen("'\\x", "'\\xff", 1);
    restore(world, vm, &damaged).await;
    reveal(&world.as_(User::Alice), vm).await.refused(500, "INTERNAL_ERROR");
    let kept = "vm_initial_credentials WHERE password IS NOT NULL AND revealed_at IS NULL";
    assert_eq!(world.home.count(kept).await, 1, "a password that was not shown is gone");
}

async fn opens_after_a_rotation(world: &World, vm: &str, kept: &str, password: &str) {
    restore(world, vm, kept).await;
    let path = "/admin/encryption-keys/rotate";
    let rotated = world.as_(User::Admin).post(path, &Value::Null).await.ok(202);
    let key = text(&rotated["key_id"]);
    let resealed = format!("vm_initial_credentials WHERE password_key_id = '{key}'");
    eventually("the password is sealed anew", PATIENCE, async || {
        (world.home.count(&resealed).await == 1).then_some(())
    })
    .await;
    let shown = reveal(&world.as_(User::Alice), vm).await.ok(200);
    assert_eq!(shown["password"], password);
}

async fn expires(world: &World, vm: &str, kept: &str) {
    let week = "vm_initial_credentials \
         WHERE expires_at BETWEEN created_at + interval '167 hours' AND created_at + interval '169 hours'";
    assert_eq!(world.home.count(week).await, 1);
    restore(world, vm, kept).await;
    let age = "UPDATE vm_initial_credentials SET expires_at = now() - interval '1 second' RETURNING username";
    assert_eq!(world.home.texts(age).await.len(), 1);
    reveal(&world.as_(User::Alice), vm).await.refused(404, NOT_AVAILABLE);
    upkeep::run(&world.home, "token_cleanup").await;
    let erased = "vm_initial_credentials WHERE password IS NULL AND password_key_id IS NULL";
    assert_eq!(world.home.count(erased).await, 1);
}

async fn a_template_may_do_without(world: &World) {
    let source = json!({"container_disk": {"image": "quay.io/containerdisks/debian:13"}});
    let body = json!({
        "name": "bare", "os_family": "linux",
        "spec": {"image_source": source, "guest": {"initial_password": false}},
    });
    let template = world.as_(User::Admin).post("/admin/templates", &body).await.ok(201);
    let mut request = world.vm_body("dev");
    request["template_id"] = template["id"].clone();
    let accepted = world.as_(User::Alice).post("/vms", &request).await.ok(202);
    let ticket = text(&accepted["ticket_id"]);
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    let vm = world.vm_of(&ticket).await;
    reveal(&world.as_(User::Alice), &vm).await.refused(404, NOT_AVAILABLE);
    assert_eq!(world.home.count("vm_initial_credentials").await, 1);
}

async fn goes_with_the_machine(world: &World, vm: &str) {
    let ticket = world.request_deletion(vm).await;
    world.approve(&ticket).await;
    world.wait_for_ticket(&ticket, "COMPLETED").await;
    assert_eq!(world.home.count("vm_initial_credentials").await, 0);
}

fn secret(world: &World, machine: &str) -> Value {
    let secret = world
        .test
        .cluster()
        .get("Secret", "dev", &format!("{machine}-cloudinit"));
    secret.expect("the guest has data")
}

/// The hash that the guest is told to give to its account.
fn hash_on_the_cluster(world: &World, machine: &str) -> String {
    let secret = secret(world, machine);
    let data = STANDARD.decode(text(&secret["data"]["userdata"])).unwrap();
    let data = String::from_utf8(data).unwrap();
    assert!(data.starts_with("#cloud-config"), "{data}");
    for wanted in ["chpasswd:", "expire: true", "cloud-user", "type: hash"] {
        assert!(data.contains(wanted), "{wanted} is missing");
    }
    let hash = data.split("$6$").nth(1).expect("a hash of SHA-512-crypt");
    let end = hash.find(|letter: char| !(letter.is_ascii_alphanumeric() || "./$=".contains(letter)));
    format!("$6${}", &hash[..end.unwrap_or(hash.len())])
}

fn matches(password: &str, hash: &str) -> bool {
    ShaCrypt::SHA512.verify_password(password.as_bytes(), hash).is_ok()
}

async fn nothing_leaks(world: &World, vm: &str, password: &str, hash: &str) {
    // What is looked for can be found where it may be.
    assert!(holds(&secret(world, MACHINE).to_string(), hash));
    let rows = every_row(world).await;
    assert!(
        rows.iter().any(|row| row.contains("cloud-user") && row.contains(vm)),
        "the table of credentials was looked at"
    );
    let leaks: Vec<&String> = rows
        .iter()
        .filter(|row| holds(row, password) || holds(row, hash))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
    for revision in revisions(world).await {
        assert!(revision.contains(MACHINE) && !holds(&revision, password) && !holds(&revision, hash));
    }
    let log = world.server.log_text();
    assert!(log.contains("the job is done"), "the log was looked at");
    let line = log.lines().find(|line| holds(line, password) || holds(line, hash));
    assert_eq!(line, None);
}

/// Every row of every table of every schema, as text; bytes are hexadecimal there.
async fn every_row(world: &World) -> Vec<String> {
    let tables = "SELECT format('%I.%I', n.nspname, c.relname) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')";
    let tables = world.home.texts(tables).await;
    assert!(
        tables.iter().any(|table| table.starts_with("graphile_worker.")),
        "{tables:?}"
    );
    let mut rows = Vec::new();
    for table in tables {
        let found = world.home.texts(&format!("SELECT t::text FROM {table} AS t")).await;
        rows.extend(found.into_iter().map(|row| format!("{table}: {row}")));
    }
    rows
}

async fn revisions(world: &World) -> Vec<String> {
    let packed = world
        .home
        .texts("SELECT encode(spec_snapshot, 'base64') FROM vm_revisions")
        .await;
    assert!(!packed.is_empty());
    let unpack = |packed: &String| {
        let bytes = STANDARD.decode(packed.replace('\n', "")).unwrap();
        String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
    };
    packed.iter().map(unpack).collect()
}

/// Whether a text holds a secret: as it is, in hexadecimal, or anywhere in base64.
fn holds(text: &str, secret: &str) -> bool {
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let in_base64 = (0..3).any(|offset| {
        let shifted = [vec![0; offset], secret.as_bytes().to_vec()].concat();
        let encoded = STANDARD.encode(shifted);
        // The letters at either end depend on what stands around.
        let whole = encoded.trim_end_matches('=');
        text.contains(&whole[offset + 1..whole.len() - 2])
    });
    in_base64 || text.contains(&hexadecimal) || text.contains(secret)
}
