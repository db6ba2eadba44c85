//! A full disk: the database lies in a tablespace on a file system that is filled up.

use std::fs::{File, Permissions, remove_file, set_permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use shepherd_testkit::postgres::OwnServer;
use tempfile::TempDir;

use super::place::{DATABASE, home};
use super::systems_and_their_audit;
use crate::crashes::queue;
use crate::server::{ALL_ROLES, PATIENCE, eventually};
use crate::world::{User, World};

/// Room for a database with a schema, and some more.
const SIZE: &str = "size=96m,mode=0755";
const BLOCK: [u8; 8192] = [0; 8192];
/// Pages that are there have room for some rows; far fewer than these.
const MOST_WRITES: usize = 3000;
/// As long as a description may be.
const DESCRIPTION: usize = 512;

/// A small file system in memory. Dropping it takes it away.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// None where nothing may be mounted.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "tmpfs"])
            .arg(directory.path())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self { directory })
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }

    /// Takes every block that is left.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        while file.write_all(&BLOCK).is_ok() {}
    }

    fn free(&self) {
        remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "chaos: mounts a file system, which only root may"]
async fn a_full_disk_is_said_leaves_nothing_half_written_and_is_over_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: a file system of limited size cannot be mounted here (it takes root)");
        return;
    };
    let database = OwnServer::start(&[]).await.unwrap();
    let tablespace = disk.directory.path().join("tablespace");
    std::fs::create_dir(&tablespace).unwrap();
    database.give(&tablespace).unwrap();
    let small = format!("CREATE TABLESPACE small LOCATION '{}'", tablespace.display());
    database.execute(&small).await.unwrap();
    database
        .execute(&format!("CREATE DATABASE {DATABASE} TABLESPACE small"))
        .await
        .unwrap();
    let home = home(database.url(DATABASE).unwrap()).await;
    let world = World::at(home, ALL_ROLES, &queue()).await;

    disk.fill();
    written_until_it_is_full(&world).await;
    let (systems, audited) = systems_and_their_audit(&world).await;
    assert_eq!(systems, audited, "nothing is half-written");

    disk.free();
    let body = json!({"name": "room-again"});
    eventually("there is room again", PATIENCE, async || {
        let reply = world.as_(User::Alice).post("/systems", &body).await;
        (reply.status == 201).then_some(())
    })
    .await;
    assert_eq!(systems_and_their_audit(&world).await, (systems + 1, audited + 1));
    world.running_vm("dev").await;
}

/// Creates Systems until one is refused.
async fn written_until_it_is_full(world: &World) {
    let alice = world.as_(User::Alice);
    let description = "x".repeat(DESCRIPTION);
    for number in 0..MOST_WRITES {
        let body = json!({"name": format!("full-{number}"), "description": description});
        let reply = alice.post("/systems", &body).await;
        if reply.status != 201 {
            assert!(!reply.header("retry-after").is_empty(), "{}", reply.text);
            reply.refused(503, "SERVICE_BUSY");
            return;
        }
    }
    panic!("{MOST_WRITES} Systems found room on a full disk");
}
