//! What is measured (operations.md §5): one function per metric, each by its name.
//!
//! Every label takes few values: names of ours, the patterns of routes, names of registered clusters. Whatever comes
//! from a client or a cluster is mapped to such a name here before it becomes a label.
//!
//! Counters say what has happened: what belongs to a transaction is handed to [`Counted`] and counted once that is
//! kept. Gauges are set again at every sample, also when they stay the same; one that is not set for a while is gone.
//!
//! - `catalogue` lists the metrics
//! - `http`, `work`, `access`, `external`, `clusters` count what happens
//! - `process` knows what this process is doing, `state` shows what the database says

mod access;
mod catalogue;
pub mod clusters;
mod counted;
mod external;
mod http;
mod process;
pub mod state;
mod work;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub use access::{
    ConsoleTokenResult, LoginResult, audit_row, console_token, login, notification_stream_connections, notifications,
    rate_limit_rejection,
};
pub use catalogue::{CATALOGUE, Kind, Metric, describe};
pub use counted::Counted;
pub use external::{external_approval_exchange, external_approval_fallback};
pub use http::http_request;
pub use process::{OpenConsole, PoolTask, show_process};
pub use work::{
    BatchResult, JobResult, OperationEnd, TicketDecision, batch_child, batch_parent, batch_submission, queue_job,
    ticket_decision, vm_operation,
};

/// How long ago a moment was, for metrics of time; nothing when it is still to come.
pub fn since(moment: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - moment).to_std().unwrap_or_default()
}

/// A number as metrics have it: whole up to 2^53, which nothing that is counted here reaches.
fn number(count: u64) -> f64 {
    count as f64
}

fn flag(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}
