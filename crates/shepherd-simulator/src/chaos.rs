//! Trouble at random: faults and changes of machines, all from one seed, so that a bad run can be had again.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::{FaultEffect, FaultId, FaultRule};
use crate::server::Simulator;

/// Pause between two events.
const PAUSE: Duration = Duration::from_millis(15);
/// Of so many events one is a fault; the others change a machine.
const FAULT_EVERY: u64 = 8;
/// Longest delay of requests.
const LONGEST_LATENCY_MS: u64 = 60;
/// What a machine may say of itself.
const STATUSES: [&str; 10] = [
    "Running",
    "Running",
    "Stopped",
    "Starting",
    "Stopping",
    "Paused",
    "Migrating",
    "CrashLoopBackOff",
    "ErrorUnschedulable",
    "Levitating",
];
const MACHINES: &str = "/virtualmachine";

/// A source of trouble for some clusters.
#[derive(Debug)]
pub struct Chaos {
    state: u64,
    rules: Vec<(usize, FaultId)>,
    events: u64,
}

impl Chaos {
    /// Trouble that is the same for the same seed, as far as it depends on it.
    pub fn new(seed: u64) -> Self {
        Self {
            // The generator stands still at zero.
            state: seed | 1,
            rules: Vec::new(),
            events: 0,
        }
    }

    /// Disturbs the clusters for a while: watches are cut, versions expire, requests fail, hang for a moment or are
    /// cut off, and machines change. Afterwards every fault is taken back. Answers how much happened.
    ///
    /// Controllers go on with machines that are not frozen.
    pub async fn disturb(&mut self, clusters: &[&Simulator], duration: Duration) -> u64 {
        let started = Instant::now();
        while started.elapsed() < duration && !clusters.is_empty() {
            let index = self.below(clusters.len());
            if let Some(cluster) = clusters.get(index) {
                self.happen(index, cluster);
            }
            tokio::time::sleep(PAUSE).await;
        }
        for (index, rule) in self.rules.drain(..) {
            if let Some(cluster) = clusters.get(index) {
                cluster.faults().revoke(rule);
            }
        }
        for cluster in clusters {
            cluster.faults().set_latency(Duration::ZERO);
        }
        self.events
    }

    fn happen(&mut self, index: usize, cluster: &Simulator) {
        self.events += 1;
        if !self.next().is_multiple_of(FAULT_EVERY) {
            return self.change(cluster);
        }
        let faults = cluster.faults();
        match self.below(8) {
            0 => faults.drop_watches(),
            1 => faults.expire_resource_versions(),
            2 => {
                let latency = self.next() % LONGEST_LATENCY_MS;
                faults.set_latency(Duration::from_millis(latency));
            }
            3 => self.inject(index, cluster, FaultEffect::status(500, "InternalError")),
            4 => self.inject(index, cluster, FaultEffect::throttled(1)),
            5 => self.inject(index, cluster, FaultEffect::DropConnection),
            6 => self.inject(index, cluster, FaultEffect::TruncateBody),
            _ => self.inject(index, cluster, FaultEffect::Delay { milliseconds: 500 }),
        }
    }

    fn inject(&mut self, index: usize, cluster: &Simulator, effect: FaultEffect) {
        let times = 1 + u32::from(self.next().is_multiple_of(2));
        let id = cluster.faults().inject(FaultRule::next(times, "GET", MACHINES, effect));
        self.rules.push((index, id));
    }

    fn change(&mut self, cluster: &Simulator) {
        let machines = cluster.cluster().list("VirtualMachine", "");
        if machines.is_empty() {
            return;
        }
        let machine = &machines[self.below(machines.len())];
        let metadata = &machine["metadata"];
        let (Some(namespace), Some(name)) = (metadata["namespace"].as_str(), metadata["name"].as_str()) else {
            return;
        };
        let status = self.status();
        cluster.cluster().put_status("VirtualMachine", namespace, name, status);
    }

    fn status(&mut self) -> Value {
        let printable = STATUSES[self.below(STATUSES.len())];
        let ready = if printable == "Running" { "True" } else { "False" };
        json!({
            "printableStatus": printable,
            "conditions": [{"type": "Ready", "status": ready, "message": format!("event {}", self.events)}],
        })
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or_default()
    }

    /// Marsaglia's xorshift, which is random enough for trouble.
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_trouble() {
        let numbers = |seed| {
            let mut chaos = Chaos::new(seed);
            [0; 20].map(|_| chaos.below(1_000))
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(9));
    }
}
