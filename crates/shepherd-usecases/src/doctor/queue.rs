//! What the table of the jobs says about the database (operations.md §7).

use serde_json::json;
use shepherd_ports::health::QueueHealth;

use super::Finding;

/// Parts of dead rows: to look at, and to act on.
const DEAD_RATIO: [f64; 2] = [0.10, 0.30];
/// Hours without a vacuum that is due.
const HOURS_WITHOUT_VACUUM: [f64; 2] = [1.0, 3.0];
/// Jobs that could run and do not.
const BACKLOG: [u64; 2] = [1000, 5000];

const SECONDS_PER_HOUR: f64 = 3600.0;

/// Looks at the queue. A handful of dead rows in a queue that is empty most of the time is no finding, whatever its part in
/// the whole: only when there are more than autovacuum waits for is anything wrong with it.
pub fn look_at_queue(health: &QueueHealth) -> Vec<Finding> {
    let mut findings = Vec::new();
    if health.vacuum_due {
        findings.extend(dead_rows(health));
        findings.extend(no_vacuum(health));
    }
    findings.extend(backlog(health));
    findings
}

fn dead_rows(health: &QueueHealth) -> Option<Finding> {
    let severity = severity(health.dead_ratio, DEAD_RATIO)?;
    let message = format!(
        "{:.0} % of the rows of the job table are dead; autovacuum does not keep up, or a long transaction holds it back",
        health.dead_ratio * 100.0
    );
    let details =
        json!({"severity": severity, "live": health.live, "dead": health.dead, "dead_ratio": health.dead_ratio});
    Some(Finding::new("queue_dead_rows", message, details))
}

fn no_vacuum(health: &QueueHealth) -> Option<Finding> {
    let hours = health.seconds_since_vacuum / SECONDS_PER_HOUR;
    let severity = severity(hours, HOURS_WITHOUT_VACUUM)?;
    let message = format!("the job table was not vacuumed for {hours:.1} hours although it is due; is autovacuum on?");
    let details = json!({"severity": severity, "last_vacuum": health.last_vacuum, "dead": health.dead});
    Some(Finding::new("queue_not_vacuumed", message, details))
}

fn backlog(health: &QueueHealth) -> Option<Finding> {
    let severity = severity(health.backlog, BACKLOG)?;
    let message = format!(
        "{} jobs could run and wait; are there workers, and enough of them (queue.max_workers)?",
        health.backlog
    );
    let details = json!({
        "severity": severity, "backlog": health.backlog, "oldest_available_seconds": health.oldest_available_seconds,
    });
    Some(Finding::new("queue_backlog", message, details))
}

/// More than the first limit is a warning, more than the second critical.
fn severity<T: PartialOrd>(value: T, [warning, critical]: [T; 2]) -> Option<&'static str> {
    if value > critical {
        Some("critical")
    } else if value > warning {
        Some("warning")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> QueueHealth {
        QueueHealth {
            live: 10,
            dead: 0,
            dead_ratio: 0.0,
            vacuum_due: false,
            last_vacuum: None,
            seconds_since_vacuum: 60.0,
            last_analyze: None,
            backlog: 0,
            oldest_available_seconds: None,
        }
    }

    fn seen(health: &QueueHealth) -> Vec<(&'static str, String)> {
        let severity = |finding: &Finding| finding.details["severity"].as_str().unwrap_or_default().to_owned();
        look_at_queue(health)
            .iter()
            .map(|finding| (finding.check, severity(finding)))
            .collect()
    }

    #[test]
    fn a_healthy_queue_is_no_finding_and_an_idle_one_is_healthy() {
        assert!(seen(&healthy()).is_empty());
        let idle = QueueHealth {
            live: 0,
            dead: 40,
            dead_ratio: 1.0,
            seconds_since_vacuum: 100.0 * SECONDS_PER_HOUR,
            ..healthy()
        };
        assert!(seen(&idle).is_empty());
    }

    #[test]
    fn the_limits_themselves_are_still_well_and_beyond_them_it_gets_worse() {
        let at = |dead_ratio, hours, backlog| QueueHealth {
            vacuum_due: true,
            dead_ratio,
            seconds_since_vacuum: hours * SECONDS_PER_HOUR,
            backlog,
            ..healthy()
        };
        let all = |severity: &str| {
            ["queue_dead_rows", "queue_not_vacuumed", "queue_backlog"].map(|check| (check, severity.to_owned()))
        };
        assert!(seen(&at(0.10, 1.0, 1000)).is_empty());
        assert_eq!(seen(&at(0.11, 1.1, 1001)), all("warning"));
        assert_eq!(seen(&at(0.30, 3.0, 5000)), all("warning"));
        assert_eq!(seen(&at(0.31, 3.1, 5001)), all("critical"));
    }
}
