//! How much this replica takes of its clients at once; each replica counts for itself.
//!
//! Requests are counted for the user they come from, and for the network when nobody is behind them: without a session,
//! at the login, and where other systems call. Probes and the document are free. Writes hold a permit from when their
//! body is there until they are answered, so that a client that sends slowly keeps nobody else waiting; heavy ones have
//! permits of their own. Reads never wait.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::{HttpMessage, HttpRequest};
use arc_swap::ArcSwap;
use governor::clock::Clock as _;
use governor::{DefaultKeyedRateLimiter, Quota};
use shepherd_domain::ids::UserId;
use shepherd_domain::limit::{LimitType, exceeded};
use shepherd_domain::problem::{ErrorCode, Problem};
use tokio::sync::Semaphore;

use super::api::BASE;
use crate::config::{ApiRate, ServerConfig};

/// How long a write waits for its permit.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Seconds after which a write that was turned away may come again.
const COME_AGAIN: u64 = 1;
/// Requests between two looks at what need not be remembered any more.
const REQUESTS_BETWEEN_SWEEPS: u32 = 1024;

/// What is below these calls a cluster or writes many rows.
const HEAVY: [&str; 11] = [
    "/vms",
    "/snapshots",
    "/migrations",
    "/approvals",
    "/admin/approvals",
    "/admin/clusters",
    "/admin/templates",
    "/admin/instance-sizes",
    "/admin/pending-adoptions",
    "/admin/reconciler",
    "/admin/encryption-keys",
];

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    User(UserId),
    Network(IpAddr),
}

/// The limits of one replica. They change while it serves: what is under way goes on, and what comes is held to the
/// new ones.
pub(super) struct Limits {
    requests: ArcSwap<Requests>,
    heavy: ArcSwap<Writes>,
    light: ArcSwap<Writes>,
}

/// Requests of each source.
struct Requests {
    rate: ApiRate,
    limiter: DefaultKeyedRateLimiter<Source>,
    counted: AtomicU32,
}

/// Writes of one kind.
struct Writes {
    most: usize,
    permits: Arc<Semaphore>,
}

impl Limits {
    pub(super) fn of(config: &ServerConfig) -> Self {
        Self {
            requests: ArcSwap::from_pointee(Requests::of(config.api_rate_per_user)),
            heavy: ArcSwap::from_pointee(Writes::of(config.heavy_write_limit)),
            light: ArcSwap::from_pointee(Writes::of(config.light_write_limit)),
        }
    }

    /// Takes over what is configured now. A limit that stays as it was keeps its count.
    pub(super) fn follow(&self, config: &ServerConfig) {
        if self.requests.load().rate != config.api_rate_per_user {
            self.requests.store(Arc::new(Requests::of(config.api_rate_per_user)));
        }
        for (writes, most) in [
            (&self.heavy, config.heavy_write_limit),
            (&self.light, config.light_write_limit),
        ] {
            if writes.load().most != most {
                writes.store(Arc::new(Writes::of(most)));
            }
        }
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    /// RATE_LIMIT_EXCEEDED{api_requests}.
    pub(super) fn count_user(&self, user: UserId) -> Result<(), Problem> {
        self.count(Source::User(user))
    }

    /// Counts a request that no user is behind.
    ///
    /// # Errors
    /// RATE_LIMIT_EXCEEDED{api_requests}.
    pub(super) fn count_address(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        // Whoever has an IPv6 address has its whole /64 to choose from.
        address.map_or(Ok(()), |address| self.count(Source::Network(network(address))))
    }

    fn count(&self, source: Source) -> Result<(), Problem> {
        self.requests.load().count(source)
    }

    /// Lets a request that changes something begin; it has its permit until it is answered.
    ///
    /// # Errors
    /// SERVICE_BUSY when there is no permit for a second.
    pub(super) async fn begin_write(&self, request: &HttpRequest) -> Result<(), Problem> {
        if request.method().is_safe() {
            return Ok(());
        }
        // The path as the router reads it: decoded.
        let permits = if is_heavy(request.match_info().as_str()) {
            Arc::clone(&self.heavy.load().permits)
        } else {
            Arc::clone(&self.light.load().permits)
        };
        let permit = tokio::time::timeout(LONGEST_WAIT, permits.acquire_owned()).await;
        // Nobody closes the semaphore.
        let Ok(Ok(permit)) = permit else {
            return Err(Problem::new(ErrorCode::ServiceBusy).with("retry_after", COME_AGAIN));
        };
        request.extensions_mut().insert(permit);
        Ok(())
    }
}

impl Requests {
    fn of(rate: ApiRate) -> Self {
        let at_least_one = |number| std::num::NonZeroU32::new(number).unwrap_or(std::num::NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(rate.per_second)).allow_burst(at_least_one(rate.burst));
        Self {
            rate,
            limiter: DefaultKeyedRateLimiter::keyed(quota),
            counted: AtomicU32::new(0),
        }
    }

    fn count(&self, source: Source) -> Result<(), Problem> {
        // Sources that earned their whole burst again are forgotten, so at most those of the last minute are known and
        // as many more as there are requests between two sweeps.
        if self.counted.fetch_add(1, Ordering::Relaxed) % REQUESTS_BETWEEN_SWEEPS == REQUESTS_BETWEEN_SWEEPS - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(&source).map_err(|refusal| {
            let wait = refusal.wait_time_from(self.limiter.clock().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let burst = u64::from(self.rate.burst);
            exceeded(LimitType::ApiRequests, burst, burst, seconds, false)
        })
    }
}

impl Writes {
    fn of(most: usize) -> Self {
        Self {
            most,
            permits: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
        }
    }
}

/// An IPv4 address, or the 64 bits of an IPv6 address that a host cannot choose.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

fn is_heavy(path: &str) -> bool {
    let Some(below) = path.strip_prefix(BASE) else {
        return false;
    };
    HEAVY.iter().any(|group| {
        below
            .strip_prefix(group)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn configured(rate: &str, heavy: usize) -> ServerConfig {
        ServerConfig {
            api_rate_per_user: rate.parse().unwrap(),
            heavy_write_limit: heavy,
            light_write_limit: 1,
            ..ServerConfig::default()
        }
    }

    fn limits(rate: &str, heavy: usize) -> Limits {
        Limits::of(&configured(rate, heavy))
    }

    fn user(number: u128) -> UserId {
        UserId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn users_and_networks_are_counted_apart_and_told_when_to_come_again() {
        let limits = limits("1/s, burst 3", 1);
        let home: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        for _ in 0..3 {
            limits.count_user(user(1)).unwrap();
            limits.count_address(Some(home)).unwrap();
        }
        let refused = limits.count_user(user(1)).unwrap_err();
        assert_eq!(refused.code, ErrorCode::RateLimitExceeded);
        assert_eq!(refused.params["limit_type"], "api_requests");
        assert_eq!(refused.params["max_value"], 3);
        assert_eq!(refused.params["retry_after"], 1);
        limits.count_user(user(2)).unwrap();
        limits.count_address(Some(neighbour)).unwrap_err();
        limits.count_address(Some("192.0.2.1".parse().unwrap())).unwrap();
        limits.count_address(None).unwrap();
    }

    #[test]
    fn however_many_come_few_are_remembered() {
        let limits = limits("1000000/s, burst 1", 1);
        for number in 0..20_000 {
            limits.count_user(user(number)).unwrap();
        }
        assert!(limits.requests.load().limiter.len() <= 2048);
    }

    #[tokio::test]
    async fn a_write_waits_a_second_for_its_permit_and_a_read_never() {
        let limits = limits("1/s", 1);
        let create = || TestRequest::post().uri("/api/v1/vms").to_http_request();
        let first = create();
        limits.begin_write(&first).await.unwrap();
        let refused = limits.begin_write(&create()).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::ServiceBusy);
        assert_eq!(refused.params["retry_after"], 1);
        let read = TestRequest::get().uri("/api/v1/vms").to_http_request();
        limits.begin_write(&read).await.unwrap();
        let light = TestRequest::post().uri("/api/v1/systems").to_http_request();
        limits.begin_write(&light).await.unwrap();
        drop(first);
        limits.begin_write(&create()).await.unwrap();
    }

    #[tokio::test]
    async fn other_limits_hold_for_what_comes_and_the_same_ones_go_on() {
        let limits = limits("1/s, burst 2", 1);
        let create = || TestRequest::post().uri("/api/v1/vms").to_http_request();
        let under_way = create();
        limits.begin_write(&under_way).await.unwrap();
        limits.count_user(user(1)).unwrap();
        limits.count_user(user(1)).unwrap();
        limits.follow(&configured("1/s, burst 2", 1));
        limits.count_user(user(1)).unwrap_err();
        limits.follow(&configured("1/s, burst 3", 2));
        let more = [create(), create()];
        for request in &more {
            limits.begin_write(request).await.unwrap();
            limits.count_user(user(1)).unwrap();
        }
        limits.begin_write(&create()).await.unwrap_err();
        drop(under_way);
    }

    #[test]
    fn what_calls_clusters_is_heavy() {
        for path in ["/api/v1/vms", "/api/v1/vms/batch", "/api/v1/admin/clusters/1/check"] {
            assert!(is_heavy(path), "{path}");
        }
        let disguised = TestRequest::post().uri("/api/v1/%76ms/batch").to_http_request();
        assert!(is_heavy(disguised.match_info().as_str()));
        for path in ["/api/v1/vmsx", "/api/v1/systems", "/vms", "/api/v1/admin/users"] {
            assert!(!is_heavy(path), "{path}");
        }
    }
}
