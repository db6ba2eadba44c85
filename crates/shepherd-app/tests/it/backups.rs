//! Backup and restore, with the commands of docs/book/src/operator/backup-and-restore.md: what was sealed is readable again
//! with the key of the installation, and without it nothing starts.

use std::path::Path;
use std::process::Command;

use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection};
use serde_json::Value;
use shepherd_testkit::postgres::OwnServer;

use crate::client::{Caller, send};
use crate::database_faults::place::{DATABASE, home, server};
use crate::server::{ALL_ROLES, Home, PATIENCE, Replica, eventually};
use crate::world::{User, World, text};

/// Kept apart from the backup, as every installation should.
const KEY: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
const ANOTHER_KEY: &str = "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=";
/// Where the server goes back to.
const RESTORE_POINT: &str = "before_the_accident";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_is_restored_elsewhere_and_opens_with_the_key_of_the_installation() {
    let source = server(&[]).await;
    let world = installation(&source).await;
    let vm = world.running_vm("dev").await;
    let dump = source.directory("backup").unwrap().join("shepherd.dump");
    let mut backup = source.program("pg_dump");
    backup.args(["--format=custom", "--file"]).arg(&dump).arg(DATABASE);
    succeeds(backup);

    let target = server(&[]).await;
    // Roles belong to the server, and are in no dump of a database.
    for role in ["shepherd_app", "shepherd_retention"] {
        let mut create = target.program("createuser");
        create.args(["--no-login", role]);
        succeeds(create);
    }
    let mut restore = target.program("pg_restore");
    restore.args(["--exit-on-error", "--dbname", DATABASE]).arg(&dump);
    succeeds(restore);
    refused_without_the_key(&target).await;
    opens_with_the_key(&world, &target, &vm).await;
    let said = said_by_doctor(&target).await;
    assert!(
        !said.contains("migrations_pending") && !said.contains("database_unreachable"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "chaos: a base backup, an archive and a recovery take half a minute"]
async fn a_server_is_brought_back_to_the_moment_before_an_accident() {
    let archive = tempfile::tempdir().unwrap();
    let place = archive.path().display().to_string();
    let archiving = format!("archive_command=test ! -f {place}/%f && cp %p {place}/%f");
    let source = server(&["archive_mode=on", &archiving]).await;
    source.give(archive.path()).unwrap();
    let world = installation(&source).await;

    let restore = format!("restore_command=cp {place}/%f %p");
    let point = format!("recovery_target_name={RESTORE_POINT}");
    let recovery = [restore.as_str(), &point, "recovery_target_action=promote"];
    let mut target = source.base_backup(&["--wal-method=none"], &recovery).await.unwrap();
    // What happens after the backup is in the archive only.
    let vm = world.running_vm("dev").await;
    world
        .home
        .texts(&format!("SELECT pg_create_restore_point('{RESTORE_POINT}')::text"))
        .await;
    accident(&source).await;
    everything_is_archived(&world.home).await;

    let signal = target.data().join("recovery.signal");
    std::fs::write(&signal, "").unwrap();
    target.give(&signal).unwrap();
    target.start_copy().await.unwrap();
    let restored = Home::at(target.url(DATABASE).unwrap());
    eventually("the recovery has ended", PATIENCE, async || {
        let recovering = restored.texts("SELECT pg_is_in_recovery()::text").await;
        (recovering == ["false"]).then_some(())
    })
    .await;
    assert_eq!(restored.count("vms").await, 1);
    refused_without_the_key(&target).await;
    opens_with_the_key_alone(&world, &target, &vm).await;
}

/// An installation whose key is not in its database.
async fn installation(server: &OwnServer) -> World {
    let home = home(server.url(DATABASE).unwrap()).await;
    World::at(home.with_env("ENCRYPTION_KEY", KEY), ALL_ROLES, &[]).await
}

/// Somebody removes what cannot be made again.
async fn accident(server: &OwnServer) {
    let mut session = PgConnection::connect(&server.url(DATABASE).unwrap()).await.unwrap();
    let statement = "TRUNCATE vm_initial_credentials, idempotency_keys";
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(&mut session)
        .await
        .unwrap();
    session.close().await.unwrap();
}

async fn everything_is_archived(home: &Home) {
    let last = home.texts("SELECT pg_walfile_name(pg_current_wal_lsn())").await;
    home.texts("SELECT pg_switch_wal()::text").await;
    let archived = format!("pg_stat_archiver WHERE last_archived_wal >= '{}'", last.concat());
    eventually("the archive is complete", PATIENCE, async || {
        (home.count(&archived).await == 1).then_some(())
    })
    .await;
}

async fn refused_without_the_key(server: &OwnServer) {
    let url = server.url(DATABASE).unwrap();
    let (succeeded, said) = Home::at(url.clone()).run(&["serve"], &[]).await;
    assert!(!succeeded && said.contains("start with ENCRYPTION_KEY"), "{said}");
    let (succeeded, said) = Home::at(url).run(&["serve"], &[("ENCRYPTION_KEY", ANOTHER_KEY)]).await;
    assert!(!succeeded && said.contains("start with that key"), "{said}");
}

/// A replica on the restored database opens what both have: the credentials of the cluster and the one-time password.
async fn opens_with_the_key(world: &World, server: &OwnServer, vm: &str) {
    let password = opens_with_the_key_alone(world, server, vm).await;
    let original = shown(&world.as_(User::Alice), vm).await;
    assert_eq!(password, original, "both installations have the same password");
}

/// The same, where the first installation has lost its part.
async fn opens_with_the_key_alone(world: &World, server: &OwnServer, vm: &str) -> String {
    let restored = Home::at(server.url(DATABASE).unwrap()).with_env("ENCRYPTION_KEY", KEY);
    let replica = Replica::start(&restored, "api", &[]).await;
    // Sessions are rows, and their secret is one too: who was logged in still is.
    let admin = world.as_(User::Admin).at(&replica);
    let clusters = admin.get("/admin/clusters").await.ok(200);
    let items = clusters["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(items.len(), 2);
    for cluster in items {
        let path = format!("/admin/clusters/{}/namespaces/nowhere/exists", text(&cluster["id"]));
        assert_eq!(admin.get(&path).await.ok(200)["exists"], Value::Bool(false));
    }
    shown(&world.as_(User::Alice).at(&replica), vm).await
}

/// The one-time password of a machine; it can be shown once.
async fn shown(caller: &Caller, vm: &str) -> String {
    let path = format!("/vms/{vm}/initial-password");
    let shown = send(caller.request(reqwest::Method::POST, &path)).await.ok(200);
    text(&shown["password"])
}

async fn said_by_doctor(server: &OwnServer) -> String {
    let restored = Home::at(server.url(DATABASE).unwrap()).with_env("ENCRYPTION_KEY", KEY);
    restored.run(&["doctor"], &[]).await.1
}

#[track_caller]
fn succeeds(mut command: Command) {
    let program = Path::new(command.get_program()).to_owned();
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
