//! What the database says now: read in one statement by every process, so that none of it depends on which one is
//! asked.

use ::metrics::gauge;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::Environment;
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::ids::ClusterId;
use shepherd_domain::ticket::PriorityTier;
use strum::IntoEnumIterator;

use super::{clusters, number};
use crate::error::RepositoryError;

/// Reads it.
#[async_trait]
pub trait MetricsQueries: Send + Sync {
    /// The state of the database.
    async fn sample_state(&self, now: DateTime<Utc>) -> Result<StateSample, RepositoryError>;
    /// The connections of this process, of each of its pools.
    fn pool_connections(&self) -> Vec<PoolConnections>;
}

/// Connections to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConnections {
    /// `shared`, or `session` for those of what needs a session.
    pub pool: &'static str,
    /// Open and at rest.
    pub idle: u64,
    /// Open and at work.
    pub used: u64,
    /// As many as may be open.
    pub limit: u64,
}

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct StateSample {
    /// Tickets that wait for a decision; no items of batches.
    pub pending: Vec<PendingTickets>,
    /// Jobs of all kinds.
    pub jobs: JobCounts,
    /// How long the oldest available job has been due, in seconds.
    pub oldest_available_seconds: f64,
    /// Jobs of events that were given up, as the list of dead letters has them.
    pub dead_letters: u64,
    /// Share of dead rows in the table of jobs, 0 to 1.
    pub dead_tuple_ratio: f64,
    /// How long ago the table of jobs was vacuumed, in seconds; 0 while no vacuum is due.
    pub vacuum_overdue_seconds: f64,
    /// For how long the receiver of audit rows that has failed longest has failed, in seconds; 0 while none does.
    pub audit_push_failing_seconds: f64,
    /// All clusters that are registered.
    pub clusters: Vec<ClusterState>,
    /// When background jobs did their work last.
    pub background_jobs: Vec<BackgroundJob>,
}

/// Tickets of an environment that have waited for the same number of whole days.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "what they are of")]
pub struct PendingTickets {
    pub environment: Environment,
    pub days: i64,
    pub count: u64,
}

/// Jobs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct JobCounts {
    /// Due, and nobody works on it.
    pub available: u64,
    /// Not due yet.
    pub scheduled: u64,
    /// A worker has it.
    pub running: u64,
    /// Never tried again.
    pub given_up: u64,
}

/// A registered cluster.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[expect(missing_docs, reason = "the columns of the cluster")]
pub struct ClusterState {
    pub id: ClusterId,
    pub name: String,
    pub status: ClusterStatus,
    /// Whether an administrator lets it take part. Nobody looks at the others, so there is nothing to show of them.
    pub enabled: bool,
    /// For how long its rows have not been following it, in seconds; 0 while they do.
    pub watcher_lag_seconds: f64,
}

/// A background job that has done its work before.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BackgroundJob {
    /// Its name.
    pub job: String,
    /// When, in seconds since 1970.
    pub succeeded_at: f64,
}

/// Shows a sample. What can be without rows is shown as 0; clusters and jobs that are gone are not shown any more.
pub fn show_state(sample: &StateSample) {
    for environment in Environment::ALL {
        for tier in PriorityTier::iter() {
            let pending = sample.pending_in(environment, tier);
            let tier: &'static str = tier.into();
            gauge!("tickets_pending", "environment" => environment.as_str(), "tier" => tier).set(number(pending));
        }
    }
    let JobCounts {
        available,
        scheduled,
        running,
        given_up,
    } = sample.jobs;
    let states = [
        ("available", available),
        ("scheduled", scheduled),
        ("running", running),
        ("given_up", given_up),
    ];
    for (state, count) in states {
        gauge!("queue_jobs", "state" => state).set(number(count));
    }
    gauge!("queue_oldest_available_seconds").set(sample.oldest_available_seconds);
    gauge!("queue_dead_letters_total").set(number(sample.dead_letters));
    gauge!("queue_dead_tuple_ratio").set(sample.dead_tuple_ratio);
    gauge!("queue_vacuum_overdue_seconds").set(sample.vacuum_overdue_seconds);
    gauge!("audit_push_failing_seconds").set(sample.audit_push_failing_seconds);
    clusters::registered(sample.clusters.iter().map(|cluster| (cluster.id, cluster.name.clone())));
    for cluster in sample.clusters.iter().filter(|cluster| cluster.enabled) {
        clusters::status(&cluster.name, cluster.status);
        clusters::watcher_lag(&cluster.name, cluster.watcher_lag_seconds);
    }
    for job in &sample.background_jobs {
        gauge!("background_job_last_success_timestamp", "job" => job.job.clone()).set(job.succeeded_at);
    }
}

/// Shows the connections of this process to the database.
pub fn show_connections(pools: &[PoolConnections]) {
    for PoolConnections {
        pool,
        idle,
        used,
        limit,
    } in pools
    {
        for (state, count) in [("idle", idle), ("used", used), ("limit", limit)] {
            gauge!("db_pool_connections", "pool" => *pool, "state" => state).set(number(*count));
        }
    }
}

impl StateSample {
    fn pending_in(&self, environment: Environment, tier: PriorityTier) -> u64 {
        let of_it = |pending: &&PendingTickets| {
            pending.environment == environment && PriorityTier::of_days(pending.days) == tier
        };
        self.pending.iter().filter(of_it).map(|pending| pending.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_are_counted_by_urgency() {
        let waiting = |environment, days, count| PendingTickets {
            environment,
            days,
            count,
        };
        let sample = StateSample {
            pending: vec![
                waiting(Environment::Test, 0, 2),
                waiting(Environment::Test, 3, 1),
                waiting(Environment::Test, 40, 5),
                waiting(Environment::Prod, 4, 7),
            ],
            ..StateSample::default()
        };
        let shown = |environment| PriorityTier::iter().map(move |tier| (environment, tier));
        let counts: Vec<u64> = shown(Environment::Test)
            .chain(shown(Environment::Prod))
            .map(|(environment, tier)| sample.pending_in(environment, tier))
            .collect();
        assert_eq!(counts, [3, 0, 5, 0, 7, 0]);
    }
}
