//! What one process takes: from exec to ready with a migrated schema, and memory at rest.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::bed::Bed;
use super::figure::{Figure, Goal, median};
use crate::progress::Step;

const STARTS: usize = 5;
/// After this long, what the start needed has been given back.
const REST: Duration = Duration::from_secs(5);
const ALL_ROLES: &str = "api,worker,controllers";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_process").await?;
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for number in 1..=STARTS {
        step.detail(&format!("start {number} of {STARTS}"));
        let served = bed.serve(&database, ALL_ROLES).await?;
        starts.push(served.ready_after.as_secs_f64());
        tokio::time::sleep(REST).await;
        memory.push(resident_mib(bed.shepherd(), served.port)?);
        served.stop().await;
    }
    Ok(vec![
        Figure::new("idle_rss", median(&memory), "MiB", Goal::AtMost(60.0))
            .noted("all roles in one process, five seconds after the start; median of 5")
            .detailed(json!({"mib": memory})),
        Figure::new("exec_to_ready", median(&starts), "s", Goal::AtMost(1.0))
            .noted("until the first 200 of /api/v1/health/ready, with a migrated schema; median of 5")
            .detailed(json!({"s": starts})),
    ])
}

/// VmRSS of the process that runs this program and was told this port. Its own id is the leash's secret.
pub(super) fn resident_mib(program: &Path, port: u16) -> anyhow::Result<f64> {
    let told = format!("SERVER_PORT={port}");
    let processes = std::fs::read_dir("/proc").context("memory is read from /proc, which only Linux has")?;
    for process in processes {
        let process = process?.path();
        let runs_it = std::fs::read_link(process.join("exe")).is_ok_and(|running| running == program);
        let was_told = || {
            std::fs::read(process.join("environ"))
                .is_ok_and(|variables| variables.split(|byte| *byte == 0).any(|it| it == told.as_bytes()))
        };
        if runs_it && was_told() {
            let status = std::fs::read_to_string(process.join("status"))?;
            return vm_rss_mib(&status).context("the process has no VmRSS");
        }
    }
    bail!("the running shepherd is not in /proc")
}

fn vm_rss_mib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found_in_the_status() {
        assert_eq!(vm_rss_mib("VmPeak:\t  9 kB\nVmRSS:\t   51200 kB\n"), Some(50.0));
        assert_eq!(vm_rss_mib("State: Z (zombie)\n"), None);
    }
}
