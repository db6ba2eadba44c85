//! How much one replica takes of its clients: requests of one user, and writes at once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ServerConfig;

/// Most requests per second, and at once, that can be configured.
const MOST_REQUESTS: u32 = 1_000_000;
/// Most seconds that a burst may take to be earned again: what is kept about a user, is kept for as long.
const LONGEST_RECOVERY: u32 = 60;
/// Most writes at once that can be configured.
const MOST_WRITES: usize = 10_000;

/// A rate of requests: so many per second in the long run, after so many at once. It is written `50/s, burst 100`;
/// without a burst, twice the rate may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApiRate {
    /// Requests per second.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
}

impl Default for ApiRate {
    fn default() -> Self {
        Self {
            per_second: 50,
            burst: 100,
        }
    }
}

/// The text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is written like `50/s, burst 100`")]
pub struct NoRate;

impl FromStr for ApiRate {
    type Err = NoRate;

    fn from_str(text: &str) -> Result<Self, NoRate> {
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| NoRate);
        let (rate, burst) = match text.split_once(',') {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let per_second = number(rate.trim().strip_suffix("/s").ok_or(NoRate)?)?;
        let burst = match burst {
            Some(burst) => number(burst.trim().strip_prefix("burst").ok_or(NoRate)?)?,
            None => per_second.saturating_mul(2),
        };
        Ok(Self { per_second, burst })
    }
}

impl TryFrom<String> for ApiRate {
    type Error = NoRate;

    fn try_from(text: String) -> Result<Self, NoRate> {
        text.parse()
    }
}

impl fmt::Display for ApiRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s, burst {}", self.per_second, self.burst)
    }
}

impl From<ApiRate> for String {
    fn from(rate: ApiRate) -> Self {
        rate.to_string()
    }
}

impl ServerConfig {
    pub(super) fn rate_findings(&self, require: &mut impl FnMut(bool, &str)) {
        let rate = self.api_rate_per_user;
        let numbers = 1..=MOST_REQUESTS;
        require(
            numbers.contains(&rate.per_second) && numbers.contains(&rate.burst),
            "server.api_rate_per_user: 1 to 1000000 per second and at once",
        );
        require(
            rate.burst <= rate.per_second.saturating_mul(LONGEST_RECOVERY),
            "server.api_rate_per_user: at most the requests of a minute at once",
        );
        let writes = 1..=MOST_WRITES;
        require(
            writes.contains(&self.heavy_write_limit),
            "server.heavy_write_limit: 1 to 10000",
        );
        require(
            writes.contains(&self.light_write_limit),
            "server.light_write_limit: 1 to 10000",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        let rate = ApiRate {
            per_second: 5,
            burst: 7,
        };
        assert_eq!(rate.to_string().parse(), Ok(rate));
        assert_eq!("50/s, burst 100".parse(), Ok(ApiRate::default()));
        assert_eq!("50/s".parse(), Ok(ApiRate::default()));
        for text in ["", "50", "50/m", "50/s burst 100", "50/s, 100", "-1/s", "50/s, burst"] {
            assert_eq!(text.parse::<ApiRate>(), Err(NoRate), "{text}");
        }
    }

    #[test]
    fn a_rate_that_lets_nothing_through_or_forgets_nothing_is_a_finding() {
        let found = |rate: &str, heavy| {
            let server = ServerConfig {
                api_rate_per_user: rate.parse().unwrap(),
                heavy_write_limit: heavy,
                ..ServerConfig::default()
            };
            let mut findings = 0;
            server.rate_findings(&mut |holds: bool, _: &str| findings += u32::from(!holds));
            findings
        };
        assert_eq!(found("50/s, burst 100", 30), 0);
        assert_eq!(found("0/s, burst 1", 30), 2);
        assert_eq!(found("1/s, burst 61", 30), 1);
        assert_eq!(found("1/s, burst 60", 0), 1);
    }
}
