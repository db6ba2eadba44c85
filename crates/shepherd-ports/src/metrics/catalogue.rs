//! The metrics there are, with what they say.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rises until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts values by size.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// What it says.
    pub help: &'static str,
}

const fn count(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: Unit::Count,
        help,
    }
}

const fn level(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit,
        help,
    }
}

const fn duration(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help,
    }
}

/// All metrics.
pub const CATALOGUE: &[Metric] = &[
    count(
        "http_requests_total",
        "Requests that were answered, by method, pattern of the route and status",
    ),
    duration(
        "http_request_duration_seconds",
        "Time until the answer of a request began",
    ),
    count(
        "vm_operations_total",
        "Operations on machines that ended, by kind, outcome and cluster",
    ),
    duration(
        "vm_operation_duration_seconds",
        "Time from the approval of an operation to its end",
    ),
    level(
        "tickets_pending",
        Unit::Count,
        "Tickets that wait for a decision, without items of batches, by environment and urgency",
    ),
    duration(
        "ticket_decision_seconds",
        "Time from the submission of a ticket to its decision, without items of batches",
    ),
    level(
        "queue_jobs",
        Unit::Count,
        "Jobs in the queue: available, scheduled, running, or given up",
    ),
    level(
        "queue_oldest_available_seconds",
        Unit::Seconds,
        "How long the oldest job has been waiting for a worker",
    ),
    duration(
        "queue_job_duration_seconds",
        "Time that one attempt at a job took, by kind of event and result",
    ),
    level(
        "queue_dead_letters_total",
        Unit::Count,
        "Jobs that were given up and that nobody has looked after yet",
    ),
    level(
        "queue_dead_tuple_ratio",
        Unit::Count,
        "Share of dead rows in the table of jobs, 0 to 1",
    ),
    level(
        "queue_vacuum_overdue_seconds",
        Unit::Seconds,
        "How long ago the table of jobs was vacuumed, 0 while no vacuum is due",
    ),
    level(
        "audit_push_failing_seconds",
        Unit::Seconds,
        "For how long the receiver of audit rows that has failed longest has failed, 0 while none does",
    ),
    count("batch_submit_total", "Submissions of batches, by kind and result"),
    count(
        "batch_child_execution_total",
        "Items of batches that were carried out, by kind of batch and outcome",
    ),
    duration(
        "batch_parent_duration_seconds",
        "Time from the submission of a batch to the end of its last item",
    ),
    count(
        "rate_limit_rejections_total",
        "Requests that were refused because of a limit, by limit",
    ),
    level(
        "cluster_status",
        Unit::Count,
        "1 for the status that a cluster has, 0 for all others",
    ),
    count(
        "cluster_calls_total",
        "Calls to clusters, those that were not let through included, by what was asked and the outcome",
    ),
    duration(
        "cluster_call_duration_seconds",
        "Time of a call to a cluster once it was let through",
    ),
    level(
        "cluster_permits_in_use",
        Unit::Count,
        "Calls of this process to a cluster that are under way",
    ),
    level(
        "cluster_breaker_open",
        Unit::Count,
        "1 while this process leaves a cluster alone because too many calls failed",
    ),
    count(
        "watcher_restarts_total",
        "Interruptions of the watch of a cluster, by reason",
    ),
    level(
        "watcher_lag_seconds",
        Unit::Seconds,
        "For how long the rows have not been following a cluster; 0 while they do",
    ),
    count(
        "kubevirt_unmapped_status_total",
        "Statuses of machines that this version does not know",
    ),
    level(
        "console_sessions_active",
        Unit::Count,
        "Consoles that this process relays",
    ),
    count("console_tokens_total", "Tokens for consoles, by what became of them"),
    count("login_total", "Attempts to log in, by result"),
    count("audit_rows_total", "Rows of the audit log, by code of the action"),
    count("notifications_total", "Notifications that were stored, by type"),
    level(
        "notification_stream_connections",
        Unit::Count,
        "Clients that listen to notifications of this process",
    ),
    count(
        "external_approval_requests_total",
        "Exchanges with external approval systems",
    ),
    duration(
        "external_approval_latency_seconds",
        "Time of an exchange with an external approval system",
    ),
    count(
        "external_approval_errors_total",
        "Exchanges with external approval systems that failed",
    ),
    count(
        "external_approval_fallback_total",
        "Tickets that went back to the built-in queue because their external system failed",
    ),
    level(
        "schema_fallback",
        Unit::Count,
        "1 while another schema stands in for the one of a KubeVirt version that a cluster runs",
    ),
    level(
        "db_pool_connections",
        Unit::Count,
        "Connections of this process to the database: idle, used, and how many there may be (limit)",
    ),
    level(
        "background_job_last_success_timestamp",
        Unit::Seconds,
        "When a background job did its work last, in seconds since 1970",
    ),
    level(
        "pool_tasks",
        Unit::Count,
        "Supervised tasks of this process: running, restarting, and how often one panicked",
    ),
];

/// Tells the recorder what each metric is.
pub fn describe() {
    for metric in CATALOGUE {
        let Metric { name, kind, unit, help } = *metric;
        match kind {
            Kind::Counter => describe_counter!(name, unit, help),
            Kind::Gauge => describe_gauge!(name, unit, help),
            Kind::Histogram => describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// operations.md §5, word for word.
    const SPECIFIED: [&str; 37] = [
        "http_requests_total",
        "http_request_duration_seconds",
        "vm_operations_total",
        "vm_operation_duration_seconds",
        "tickets_pending",
        "ticket_decision_seconds",
        "queue_jobs",
        "queue_oldest_available_seconds",
        "queue_job_duration_seconds",
        "queue_dead_letters_total",
        "queue_dead_tuple_ratio",
        "batch_submit_total",
        "batch_child_execution_total",
        "batch_parent_duration_seconds",
        "rate_limit_rejections_total",
        "cluster_status",
        "cluster_calls_total",
        "cluster_call_duration_seconds",
        "cluster_permits_in_use",
        "cluster_breaker_open",
        "watcher_restarts_total",
        "watcher_lag_seconds",
        "kubevirt_unmapped_status_total",
        "console_sessions_active",
        "console_tokens_total",
        "login_total",
        "audit_rows_total",
        "notifications_total",
        "notification_stream_connections",
        "external_approval_requests_total",
        "external_approval_latency_seconds",
        "external_approval_errors_total",
        "external_approval_fallback_total",
        "schema_fallback",
        "db_pool_connections",
        "background_job_last_success_timestamp",
        "pool_tasks",
    ];

    /// What its alerts need beside that: autovacuum that does not come (operations.md §7), and audit rows that do not leave.
    const ADDED: [&str; 2] = ["queue_vacuum_overdue_seconds", "audit_push_failing_seconds"];

    #[test]
    fn the_catalogue_is_the_specification_and_what_its_alerts_need() {
        let described: BTreeSet<&str> = CATALOGUE.iter().map(|metric| metric.name).collect();
        assert_eq!(described.len(), CATALOGUE.len(), "a name is there twice");
        assert_eq!(described, SPECIFIED.into_iter().chain(ADDED).collect());
    }

    #[test]
    fn every_metric_says_what_it_is() {
        for metric in CATALOGUE {
            assert!(metric.help.len() > 10, "{}", metric.name);
            let measures_time = metric.name.ends_with("_seconds") || metric.name.ends_with("_timestamp");
            assert_eq!(measures_time, metric.unit == Unit::Seconds, "{}", metric.name);
            assert!(
                metric.kind != Kind::Counter || metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
        }
    }
}
