//! What the system knows about a replica: which process it is, and what it takes of memory.

use std::path::PathBuf;
use std::process::Command;

use crate::server::Replica;

const BINARY: &str = env!("CARGO_BIN_EXE_shepherd");

/// The directory of a replica's process in `/proc`; its own id is the leash's secret.
fn process(replica: &Replica) -> PathBuf {
    let site = replica.site("");
    let (_, port) = site.rsplit_once(':').expect("an address has a port");
    let told = format!("SERVER_PORT={port}");
    let binary = std::fs::canonicalize(BINARY).unwrap();
    let processes = std::fs::read_dir("/proc").expect("processes are found in /proc, which only Linux has");
    let found = processes
        .filter_map(Result::ok)
        .map(|process| process.path())
        .find(|process| {
            let runs_it = std::fs::read_link(process.join("exe")).is_ok_and(|running| running == binary);
            let was_told = || {
                std::fs::read(process.join("environ"))
                    .is_ok_and(|variables| variables.split(|byte| *byte == 0).any(|it| it == told.as_bytes()))
            };
            runs_it && was_told()
        });
    found.expect("the replica should run")
}

/// Memory of a replica, in MiB.
pub fn resident_mib(replica: &Replica) -> u64 {
    let status = std::fs::read_to_string(process(replica).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("a process has memory") / 1024
}

/// Asks a replica to stop, as an orchestrator does.
pub fn terminate(replica: &Replica) {
    let process = process(replica);
    let id = process.file_name().expect("a process has an id");
    let script = "kill -TERM \"$0\"";
    let status = Command::new("sh").args(["-c", script]).arg(id).status().unwrap();
    assert!(status.success());
}
