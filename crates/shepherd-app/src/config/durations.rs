//! What a duration may be. Each has a least and a most: nothing waits for ever, turns without a pause, or is subtracted
//! from a moment that has no such past.

use std::time::Duration;

use super::Config;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What one key may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Its dotted name.
    pub key: &'static str,
    least: Duration,
    most: Duration,
    value: fn(&Config) -> Duration,
}

const fn bounds(key: &'static str, least: Duration, most: Duration, value: fn(&Config) -> Duration) -> Bounds {
    Bounds {
        key,
        least,
        most,
        value,
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

/// All durations, in the order of the sections.
pub(super) const BOUNDS: &[Bounds] = &[
    bounds("server.read_timeout", SECOND, minutes(10), |all| {
        all.server.read_timeout
    }),
    bounds("server.write_timeout", SECOND, minutes(10), |all| {
        all.server.write_timeout
    }),
    bounds("server.shutdown_timeout", SECOND, HOUR, |all| {
        all.server.shutdown_timeout
    }),
    bounds("database.max_conn_lifetime", seconds(10), days(7), |all| {
        all.database.max_conn_lifetime
    }),
    bounds("database.max_conn_idle_time", seconds(10), DAY, |all| {
        all.database.max_conn_idle_time
    }),
    // PostgreSQL counts milliseconds, and takes none for no limit.
    bounds("database.lock_timeout", milliseconds(100), minutes(10), |all| {
        all.database.lock_timeout
    }),
    bounds("database.statement_timeout", SECOND, HOUR, |all| {
        all.database.statement_timeout
    }),
    bounds("session.lifetime", MINUTE, days(365), |all| all.session.lifetime),
    bounds("session.idle_timeout", MINUTE, days(365), |all| {
        all.session.idle_timeout
    }),
    // Less would be no protection against somebody who tries.
    bounds("security.login.window", MINUTE, DAY, |all| all.security.login.window),
    bounds("confirmation.window", MINUTE, DAY, |all| all.confirmation.window),
    bounds("queue.poll_interval", milliseconds(100), MINUTE, |all| {
        all.queue.poll_interval
    }),
    // A worker that is silent for longer is taken for dead, by readiness and by the others.
    bounds("queue.heartbeat", SECOND, seconds(30), |all| all.queue.heartbeat),
    bounds("queue.recovery_threshold", seconds(3), HOUR, |all| {
        all.queue.recovery_threshold
    }),
    bounds("queue.dead_letter_retention", HOUR, days(365), |all| {
        all.queue.dead_letter_retention
    }),
    bounds("k8s.operation_timeout", seconds(10), DAY, |all| {
        all.k8s.operation_timeout
    }),
    bounds("k8s.call_timeout", SECOND, minutes(10), |all| all.k8s.call_timeout),
    bounds("k8s.health_interval", SECOND, HOUR, |all| all.k8s.health_interval),
    bounds("k8s.health_timeout", SECOND, minutes(10), |all| all.k8s.health_timeout),
    bounds("k8s.breaker_open", SECOND, HOUR, |all| all.k8s.breaker_open),
    bounds("k8s.dry_run_warn", milliseconds(100), minutes(10), |all| {
        all.k8s.dry_run_warn
    }),
    bounds("vm.creation_timeout", MINUTE, days(7), |all| all.vm.creation_timeout),
    bounds("vm.initial_password_ttl", MINUTE, days(90), |all| {
        all.vm.initial_password_ttl
    }),
    bounds("adoption.scan_interval", MINUTE, days(7), |all| {
        all.adoption.scan_interval
    }),
    bounds("reconciler.interval", MINUTE, days(30), |all| all.reconciler.interval),
    bounds("schema.fetch_timeout", SECOND, minutes(10), |all| {
        all.schema.fetch_timeout
    }),
    // Without a wait the other limits of batches still hold.
    bounds("batch.user_cooldown", Duration::ZERO, DAY, |all| {
        all.batch.user_cooldown
    }),
    bounds("console.token_ttl", SECOND, hours(2), |all| all.console.token_ttl),
    bounds("console.grant_ttl", SECOND, hours(8), |all| all.console.grant_ttl),
    bounds("console.check_interval", milliseconds(100), seconds(30), |all| {
        all.console.check_interval
    }),
];

impl Bounds {
    /// As people write it: `1s to 30s`.
    pub(super) fn range(&self) -> String {
        format!("{} to {}", written(self.least), written(self.most))
    }

    fn hold(&self, config: &Config) -> bool {
        (self.least..=self.most).contains(&(self.value)(config))
    }
}

impl Config {
    pub(super) fn duration_findings(&self, require: &mut impl FnMut(bool, &str)) {
        for bounds in BOUNDS {
            let finding = format!("{}: {}", bounds.key, bounds.range());
            require(bounds.hold(self), &finding);
        }
    }
}

/// In the largest unit that it is a multiple of.
fn written(duration: Duration) -> String {
    let units = [(DAY, "days"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s")];
    let milliseconds = duration.as_millis();
    let found = units
        .iter()
        .map(|(unit, name)| (unit.as_millis(), *name))
        .find(|(unit, _)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    match found {
        Some((unit, "days")) if unit == milliseconds => "1day".to_owned(),
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None if milliseconds == 0 => "0s".to_owned(),
        None => format!("{milliseconds}ms"),
    }
}

#[cfg(test)]
mod tests {
    use humantime_serde::re::humantime::parse_duration;
    use serde_json::Value;

    use super::*;
    use crate::config::keys::{self, KEYS};

    /// Why a configuration with this value is refused.
    fn findings(key: &str, value: &str) -> Vec<String> {
        let config = Config::of_values([(key, &Value::from(value))]).unwrap();
        config.sentences()
    }

    fn duration(key: &str) -> Option<Duration> {
        let values = Config::default().values();
        values[key].as_str().and_then(|text| parse_duration(text).ok())
    }

    #[test]
    fn every_duration_has_bounds_that_its_description_says() {
        let known: Vec<&str> = BOUNDS.iter().map(|bounds| bounds.key).collect();
        for key in KEYS.iter().filter(|key| duration(key.name).is_some()) {
            assert!(known.contains(&key.name), "{} has no bounds", key.name);
        }
        let defaults = Config::default();
        for bounds in BOUNDS {
            let key = bounds.key;
            assert_eq!(duration(key), Some((bounds.value)(&defaults)), "{key}");
            assert!(bounds.hold(&defaults), "{key}");
            let what = keys::find(key).unwrap().what;
            assert!(what.ends_with(&format!(", {}", bounds.range())), "{key}: {what}");
        }
    }

    #[test]
    fn the_least_and_the_most_are_taken_and_nothing_beyond() {
        for bounds in BOUNDS {
            let said = format!("{}: {}", bounds.key, bounds.range());
            let found = |value: Duration| {
                let value = format!("{}ms", value.as_millis());
                findings(bounds.key, &value).contains(&said)
            };
            assert!(!found(bounds.least) && !found(bounds.most), "{said}");
            assert!(found(bounds.most + milliseconds(1)), "{said}");
            if let Some(less) = bounds.least.checked_sub(milliseconds(1)) {
                assert!(found(less), "{said}");
                assert!(found(Duration::ZERO), "{said}");
            }
        }
    }

    #[test]
    fn a_length_beyond_all_measure_is_a_finding_and_no_panic() {
        for bounds in BOUNDS {
            // Twice as long is no duration any more.
            let found = findings(bounds.key, &format!("{}s", u64::MAX / 2 + 1));
            assert!(
                found.iter().any(|finding| finding.starts_with(bounds.key)),
                "{}",
                bounds.key
            );
        }
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for (duration, text) in [
            (Duration::ZERO, "0s"),
            (milliseconds(100), "100ms"),
            (seconds(90), "90s"),
            (minutes(10), "10m"),
            (hours(8), "8h"),
            (DAY, "1day"),
            (days(365), "365days"),
        ] {
            assert_eq!(written(duration), text);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
        }
    }
}
