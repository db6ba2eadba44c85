//! One call, from the question whether it may be made to what its outcome says about the cluster.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::metrics;
use shepherd_ports::providers::ProviderError;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::breaker::Pass;
use super::limits::{Permit, Turn};
use super::{Registry, Slot, lock};

/// Longest pause that a call waits for; it is refused when a cluster asks for more.
const SHORT_PAUSE: Duration = Duration::from_secs(2);

/// On whose behalf a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Anybody's.
    Regular,
    /// Of the health check: it waits for no other call, no turn and no breaker, for it has to find out how the cluster
    /// is now.
    Health,
}

/// What an outcome says about the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It lives, whatever it thinks of the call.
    Answered,
    /// It does not answer, or not as an API server does.
    Failed,
    /// Nothing; it was never asked.
    NoCall,
}

impl Registry {
    /// Makes one call: within the limits of its cluster, with its client, and in time.
    ///
    /// # Errors
    /// Unavailable when no call was made: the cluster is not registered, left alone by its breaker, or too busy.
    /// Throttled while a pause lasts that the cluster asked for. Timeout when the call took too long. Otherwise the
    /// error of `work`.
    pub(crate) async fn call<T, F, W>(
        &self,
        cluster: ClusterId,
        operation: &'static str,
        lane: Lane,
        work: W,
    ) -> Result<T, ProviderError>
    where
        T: Send,
        F: Future<Output = Result<T, ProviderError>> + Send,
        W: FnOnce(Client) -> F + Send,
    {
        let answer = self.make(cluster, operation, lane, work).await;
        metrics::clusters::called(cluster, operation, &answer);
        answer
    }

    async fn make<T, F, W>(
        &self,
        cluster: ClusterId,
        operation: &'static str,
        lane: Lane,
        work: W,
    ) -> Result<T, ProviderError>
    where
        T: Send,
        F: Future<Output = Result<T, ProviderError>> + Send,
        W: FnOnce(Client) -> F + Send,
    {
        let slot = self.slot(cluster);
        // First of all, so that a limit that was changed holds for this call.
        self.connection_of(&slot).await?;
        let mut admission = self.admit(&slot, lane).await?;
        // Once more, because credentials may have changed while the call waited.
        let connection = self.connection_of(&slot).await?;
        let began = Instant::now();
        let outcome = tokio::time::timeout(self.limits().call_timeout, work(connection.client))
            .await
            .unwrap_or_else(|_| Err(ProviderError::Timeout(operation.to_owned())));
        metrics::clusters::call_took(cluster, operation, began.elapsed());
        admission.settle(verdict(&outcome));
        outcome.map_err(|error| {
            tracing::debug!(%cluster, operation, %error, "a call to a cluster failed");
            slot.with_pause(error)
        })
    }

    async fn admit(&self, slot: &Arc<Slot>, lane: Lane) -> Result<Admission, ProviderError> {
        let admitting = async {
            match lane {
                Lane::Regular => slot.admit(&self.all).await,
                Lane::Health => slot.admit_health().await,
            }
        };
        tokio::time::timeout(self.limits().permit_wait, admitting)
            .await
            .unwrap_or_else(|_| Err(busy()))
    }
}

fn busy() -> ProviderError {
    ProviderError::Unavailable("no call permit was free in time".to_owned())
}

impl Slot {
    async fn admit(self: &Arc<Self>, all: &Arc<Semaphore>) -> Result<Admission, ProviderError> {
        // At once, so that nobody queues up for a cluster that is left alone.
        if lock(&self.breaker).refuses(Instant::now()) {
            return Err(left_alone());
        }
        while let Some(rest) = self.pace.paused() {
            if rest > SHORT_PAUSE {
                return Err(throttled(rest));
            }
            tokio::time::sleep(rest).await;
        }
        let permit = self.permits.acquire().await.map_err(|_| busy())?;
        let turn = self.pace.turn().await;
        // Last, so that nobody who still waits for one cluster takes the room of calls to another.
        let room = self.room(all).await.map_err(|_| busy())?;
        // The cluster may have fallen ill meanwhile.
        if let Some(rest) = self.pace.paused() {
            return Err(throttled(rest));
        }
        let pass = lock(&self.breaker).pass(Instant::now()).ok_or_else(left_alone)?;
        Ok(Admission {
            slot: Arc::clone(self),
            pass: Some(pass),
            _turn: Some(turn),
            _permit: permit,
            _room: Some(room),
        })
    }

    /// Room among the calls to all clusters. One call to each has its room at any time, however many calls to others hang.
    pub(super) async fn room(&self, all: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AcquireError> {
        tokio::select! {
            biased;
            own = Arc::clone(&self.own).acquire_owned() => own,
            shared = Arc::clone(all).acquire_owned() => shared,
        }
    }

    async fn admit_health(self: &Arc<Self>) -> Result<Admission, ProviderError> {
        Ok(Admission {
            slot: Arc::clone(self),
            pass: None,
            _turn: None,
            _permit: self.health.acquire().await.map_err(|_| busy())?,
            _room: None,
        })
    }

    /// Completes a refusal by the pause that came with it, in its text or in a header.
    fn with_pause(&self, error: ProviderError) -> ProviderError {
        let ProviderError::Throttled { retry_after } = error else {
            return error;
        };
        if let Some(wait) = retry_after {
            self.pace.pause(wait);
        }
        ProviderError::Throttled {
            retry_after: retry_after.or_else(|| self.pace.paused()),
        }
    }
}

fn left_alone() -> ProviderError {
    ProviderError::Unavailable("too many calls to the cluster failed; it is left alone for a while".to_owned())
}

fn throttled(rest: Duration) -> ProviderError {
    ProviderError::Throttled {
        retry_after: Some(rest),
    }
}

/// A call that may be made. Dropping it gives back what it holds, however the call ended.
struct Admission {
    slot: Arc<Slot>,
    // Health needs none.
    pass: Option<Pass>,
    _turn: Option<Turn>,
    _permit: Permit,
    // Among the calls to all clusters; health needs none.
    _room: Option<OwnedSemaphorePermit>,
}

impl Admission {
    fn settle(&mut self, verdict: Verdict) {
        let now = Instant::now();
        let pass = self.pass.take();
        let mut breaker = lock(&self.slot.breaker);
        match (verdict, pass) {
            (Verdict::Answered, Some(pass)) => self.slot.log_closed_if(breaker.answered(pass)),
            (Verdict::Answered, None) => self.slot.log_closed_if(breaker.close()),
            (Verdict::Failed, Some(pass)) => self.slot.log_opened_if(breaker.failed(pass, now)),
            (Verdict::Failed, None) => self.slot.log_opened_if(breaker.report_failure(now)),
            (Verdict::NoCall, Some(pass)) => breaker.abandoned(pass, now),
            (Verdict::NoCall, None) => {}
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            lock(&self.slot.breaker).abandoned(pass, Instant::now());
        }
    }
}

fn verdict<T>(outcome: &Result<T, ProviderError>) -> Verdict {
    let Err(error) = outcome else {
        return Verdict::Answered;
    };
    match error {
        ProviderError::Timeout(_) | ProviderError::Unreachable(_) => Verdict::Failed,
        ProviderError::Unavailable(_) => Verdict::NoCall,
        ProviderError::NotFound(_)
        | ProviderError::AlreadyExists(_)
        | ProviderError::Conflict(_)
        | ProviderError::Forbidden(_)
        | ProviderError::Invalid { .. }
        | ProviderError::Quota(_)
        | ProviderError::Throttled { .. }
        | ProviderError::Unsupported(_)
        | ProviderError::Schema(_) => Verdict::Answered,
    }
}
