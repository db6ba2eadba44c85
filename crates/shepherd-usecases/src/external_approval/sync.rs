//! Tickets go out to systems, systems are asked what became of them, and hear of cancellations (requests.md §10).
//!
//! One replica does it, held by a lease, and every row is claimed by a conditional update besides: two replicas that
//! believe to hold the lease deliver once. No transaction is open while something is sent, nothing waits inside a
//! visit: when a row is due again stands in the row. A slow system keeps nobody waiting but the tickets it has.

mod ticket;
mod visit;

use std::collections::HashMap;
use std::future::Future;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use shepherd_domain::ids::{ExternalSystemId, SubmissionId};
use shepherd_ports::external_approvals::SubmissionRecord;
use shepherd_ports::leases::HeartbeatKind;

use super::fallback;
use crate::execution::Operations;
use crate::{Platform, UseCaseError};

/// Name of the lease.
pub const LEASE: &str = "external-approvals";
/// Exchanges with one system at the same time.
const PER_SYSTEM: usize = 8;
/// Submissions that fall back in one round, because their system is gone or disabled.
const ABANDONED: i64 = 100;

/// Takes part until dropped.
pub async fn run(platform: &Platform, operations: &Operations) {
    let mut visits = Visits::default();
    loop {
        let looked = visits.beside(look(platform)).await;
        match looked {
            Ok(Some(due)) => due
                .into_iter()
                .for_each(|submission| visits.begin(platform, operations, submission)),
            // Whoever holds the lease now begins with what this replica has not finished.
            Ok(None) => visits = Visits::default(),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "it is not known what is due to external approval systems"
            ),
        }
        let tick = platform.settings().controllers.tick;
        visits.beside(tokio::time::sleep(tick)).await;
    }
}

/// The visits that are under way, with their systems.
#[derive(Default)]
struct Visits<'a> {
    running: FuturesUnordered<BoxFuture<'a, SubmissionId>>,
    busy: HashMap<SubmissionId, ExternalSystemId>,
}

impl<'a> Visits<'a> {
    fn begin(&mut self, platform: &'a Platform, operations: &'a Operations, submission: SubmissionRecord) {
        let (id, system) = (submission.id, submission.system_id);
        let under_way = self.busy.values().filter(|other| **other == system).count();
        if under_way >= PER_SYSTEM || self.busy.contains_key(&id) {
            return;
        }
        self.busy.insert(id, system);
        self.running.push(Box::pin(async move {
            if let Err(error) = visit::execute(platform, operations, submission).await {
                tracing::warn!(submission = %id, error = &error as &dyn std::error::Error, "an external approval got no further");
            }
            id
        }));
    }

    /// Does something while the visits go on.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                Some(id) = self.running.next(), if !self.running.is_empty() => {
                    self.busy.remove(&id);
                }
            }
        }
    }
}

/// What is due; `None` when another replica sees to it. Whatever needs no exchange is done here.
async fn look(platform: &Platform) -> Result<Option<Vec<SubmissionRecord>>, UseCaseError> {
    let settings = platform.settings().controllers.clone();
    let lease = platform
        .leases
        .acquire(LEASE, &settings.instance, settings.lease_ttl)
        .await?;
    if lease.is_none() {
        return Ok(None);
    }
    platform
        .leases
        .beat(HeartbeatKind::Leader, &settings.instance, LEASE)
        .await?;
    if platform.read.decided_elsewhere().await? {
        let mut uow = platform.begin().await?;
        let cancelled = uow.external_approvals().cancel_decided().await?;
        uow.commit().await?;
        tracing::info!(
            cancelled,
            "external approvals of tickets that were decided otherwise are cancelled"
        );
    }
    for submission in platform.read.abandoned_submissions(ABANDONED).await? {
        if let Err(error) = fallback::execute(platform, &submission, visit::NO_SYSTEM).await {
            tracing::error!(submission = %submission.id, error = &error as &dyn std::error::Error, "a submission does not fall back");
        }
    }
    let per_system = i64::try_from(PER_SYSTEM).unwrap_or(i64::MAX);
    let due = platform.read.due_submissions(platform.now(), per_system).await?;
    Ok(Some(due))
}
