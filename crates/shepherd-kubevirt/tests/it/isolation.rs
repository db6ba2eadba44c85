//! Clusters kept apart: whatever one of them suffers from, the others do not notice.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use shepherd_domain::ids::ClusterId;
use shepherd_kubevirt::{CallLimits, KubeVirtProvider};
use shepherd_ports::providers::{InfrastructureProvider, ProviderError};
use shepherd_simulator::{CertificateAge, FaultEffect, FaultRule, Simulator, SimulatorConfig, Timing};
use tokio::net::TcpListener;

use crate::lab::{CLUSTER, dead, eventually, provider};
use crate::simulator;

/// Limits that no test runs into unless it lowers them.
fn generous() -> CallLimits {
    CallLimits {
        call_timeout: Duration::from_secs(10),
        permit_wait: Duration::from_secs(10),
        requests_per_second: 1_000,
        burst: 1_000,
        ..CallLimits::default()
    }
}

async fn ask(provider: &KubeVirtProvider) -> Result<bool, ProviderError> {
    ask_for(provider, "default").await
}

async fn ask_for(provider: &KubeVirtProvider, namespace: &str) -> Result<bool, ProviderError> {
    provider.namespace_exists(CLUSTER, namespace).await
}

fn always(effect: FaultEffect) -> FaultRule {
    FaultRule::always("", "", effect)
}

/// How many requests came.
fn asked(simulator: &Simulator) -> usize {
    simulator.cluster().requests().len()
}

/// How a cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Healthy,
    /// Accepts requests and never answers.
    Hanging,
    /// Accepts connections and never says a word, not even TLS.
    Mute,
    /// Cuts every connection.
    Cutting,
    /// Nobody listens.
    Absent,
    /// Answers late.
    Slow,
    Failing,
    Throttling,
    /// Says that everything is gone.
    Expiring,
    /// Sends half of every document.
    Truncating,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateOfAnother,
    /// Permits nothing.
    Refusing,
}

const SICK: [Condition; 13] = [
    Condition::Hanging,
    Condition::Mute,
    Condition::Cutting,
    Condition::Absent,
    Condition::Slow,
    Condition::Failing,
    Condition::Throttling,
    Condition::Expiring,
    Condition::Truncating,
    Condition::CertificateExpired,
    Condition::CertificateNotYetValid,
    Condition::CertificateOfAnother,
    Condition::Refusing,
];
const HEALTHY: usize = 7;

impl Condition {
    fn certificate(self) -> CertificateAge {
        match self {
            Self::CertificateExpired => CertificateAge::Expired,
            Self::CertificateNotYetValid => CertificateAge::NotYetValid,
            Self::Healthy
            | Self::Hanging
            | Self::Mute
            | Self::Cutting
            | Self::Absent
            | Self::Slow
            | Self::Failing
            | Self::Throttling
            | Self::Expiring
            | Self::Truncating
            | Self::CertificateOfAnother
            | Self::Refusing => CertificateAge::Valid,
        }
    }

    fn befall(self, simulator: &Simulator) {
        let effect = match self {
            Self::Hanging => FaultEffect::Hang,
            Self::Cutting => FaultEffect::DropConnection,
            Self::Slow => FaultEffect::Delay { milliseconds: 300 },
            Self::Failing => FaultEffect::status(500, "InternalError"),
            Self::Throttling => FaultEffect::throttled(60),
            Self::Expiring => FaultEffect::status(410, "Expired"),
            Self::Truncating => FaultEffect::TruncateBody,
            Self::Healthy
            | Self::Mute
            | Self::Absent
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateOfAnother
            | Self::Refusing => return,
        };
        simulator.faults().inject(always(effect));
    }

    /// Whether the breaker has to open.
    fn is_dead(self) -> bool {
        match self {
            Self::Hanging
            | Self::Mute
            | Self::Cutting
            | Self::Absent
            | Self::Failing
            | Self::Truncating
            | Self::CertificateExpired
            | Self::CertificateNotYetValid
            | Self::CertificateOfAnother => true,
            Self::Healthy | Self::Slow | Self::Throttling | Self::Expiring | Self::Refusing => false,
        }
    }

    fn shows_in(self, outcome: &Result<bool, ProviderError>) -> bool {
        let unreachable = |code: &str| matches!(outcome, Err(ProviderError::Unreachable(why)) if why.starts_with(code));
        match self {
            Self::Healthy | Self::Slow => *outcome == Ok(true),
            Self::Hanging | Self::Mute => matches!(outcome, Err(ProviderError::Timeout(_))),
            Self::Cutting | Self::Failing | Self::Truncating => unreachable(""),
            Self::Absent => unreachable("CONNECTION_REFUSED"),
            Self::Throttling => matches!(outcome, Err(ProviderError::Throttled { retry_after: Some(_) })),
            Self::Expiring => matches!(outcome, Err(ProviderError::Conflict(_))),
            Self::CertificateExpired => unreachable("CERTIFICATE_EXPIRED"),
            Self::CertificateNotYetValid => unreachable("CERTIFICATE_NOT_VALID_YET"),
            Self::CertificateOfAnother => unreachable("CERTIFICATE_UNKNOWN_ISSUER"),
            Self::Refusing => matches!(outcome, Err(ProviderError::Forbidden(_))),
        }
    }
}

struct Member {
    id: ClusterId,
    condition: Condition,
    simulator: Simulator,
}

/// Twenty clusters behind one provider.
struct Fleet {
    provider: Arc<KubeVirtProvider>,
    members: Vec<Member>,
    // The system accepts its connections; nobody ever takes them.
    _mute: TcpListener,
}

impl Fleet {
    async fn start(limits: CallLimits) -> Self {
        let conditions: Vec<Condition> = SICK
            .into_iter()
            .chain(std::iter::repeat_n(Condition::Healthy, HEALTHY))
            .collect();
        let mute = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let mute_url = format!("https://{}", mute.local_addr().expect("a bound port"));
        let simulators = join_all(conditions.iter().enumerate().map(|(index, condition)| {
            Simulator::start(SimulatorConfig {
                name: format!("cluster-{index}"),
                timing: Timing::instant(),
                certificate: condition.certificate(),
                ..SimulatorConfig::default()
            })
        }))
        .await;
        let members: Vec<Member> = (1_u128..)
            .zip(conditions)
            .zip(simulators)
            .map(|((id, condition), simulator)| Member {
                id: ClusterId::from_bits(id),
                condition,
                simulator: simulator.expect("the simulator starts"),
            })
            .collect();
        let another = members.last().expect("there are twenty").simulator.url();
        let (provider, credentials) = provider(&members[0].simulator.kubeconfig(), limits);
        for member in &members {
            let own = member.simulator.kubeconfig();
            let kubeconfig = match member.condition {
                Condition::Mute => redirected(&own, &mute_url),
                Condition::Absent => dead(&own),
                Condition::CertificateOfAnother => redirected(&own, &another),
                Condition::Refusing => member.simulator.restricted_kubeconfig(),
                Condition::Healthy
                | Condition::Hanging
                | Condition::Cutting
                | Condition::Slow
                | Condition::Failing
                | Condition::Throttling
                | Condition::Expiring
                | Condition::Truncating
                | Condition::CertificateExpired
                | Condition::CertificateNotYetValid => own,
            };
            credentials.set(member.id, &kubeconfig, "1");
            member.condition.befall(&member.simulator);
        }
        Self {
            provider,
            members,
            _mute: mute,
        }
    }

    async fn ask(&self, member: &Member) -> (Result<bool, ProviderError>, Duration) {
        let begin = Instant::now();
        let outcome = self.provider.namespace_exists(member.id, "default").await;
        (outcome, begin.elapsed())
    }

    /// Asks one cluster again and again, whatever it says.
    async fn hammer(&self, member: &Member) -> Infallible {
        loop {
            let _ = self.ask(member).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn with(&self, wanted: impl Fn(Condition) -> bool) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| wanted(member.condition))
    }

    /// Asks the healthy ones until every dead one is left alone, and says how long the longest answer took.
    async fn longest_healthy_answer(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut rounds = 0;
        let all_open = || {
            self.with(Condition::is_dead)
                .all(|member| self.provider.breaker_open(member.id))
        };
        while rounds < 20 || !all_open() {
            let healthy = self.with(|condition| condition == Condition::Healthy);
            for (outcome, took) in join_all(healthy.map(|member| self.ask(member))).await {
                assert_eq!(outcome, Ok(true));
                longest = longest.max(took);
            }
            rounds += 1;
        }
        longest
    }
}

/// The kubeconfig, leading elsewhere.
fn redirected(kubeconfig: &str, url: &str) -> String {
    let mut document: Value = serde_saphyr::from_str(kubeconfig).expect("a kubeconfig is YAML");
    document["clusters"][0]["cluster"]["server"] = Value::from(url);
    document.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirteen_sick_clusters_do_not_delay_seven_healthy_ones() {
    let patience = Duration::from_secs(8);
    let concurrency = 4;
    let limits = CallLimits {
        call_timeout: patience,
        permit_wait: patience,
        // Nobody is asked again before the end.
        breaker_open: Duration::from_secs(600),
        concurrency,
        requests_per_second: 50,
        burst: 50,
        ..CallLimits::default()
    };
    let fleet = &Fleet::start(limits).await;
    assert_eq!(fleet.members.len(), 20);

    let first = join_all(fleet.members.iter().map(|member| fleet.ask(member))).await;
    for (member, (outcome, _)) in fleet.members.iter().zip(&first) {
        assert!(
            member.condition.shows_in(outcome),
            "{:?}: {outcome:?}",
            member.condition
        );
    }

    let callers_each = 6;
    let sick = fleet.with(|condition| condition != Condition::Healthy);
    let hammering = join_all(sick.flat_map(|member| (0..callers_each).map(move |_| fleet.hammer(member))));
    let measuring = tokio::time::timeout(patience * 10, fleet.longest_healthy_answer());
    let longest = tokio::select! {
        _ = hammering => panic!("the callers never stop"),
        longest = measuring => longest.expect("every dead cluster is left alone after a while"),
    };
    assert!(longest < patience / 2, "a healthy cluster answered after {longest:?}");

    for member in &fleet.members {
        let condition = member.condition;
        let open = fleet.provider.breaker_open(member.id);
        assert_eq!(open, condition.is_dead(), "{condition:?}");
        if open {
            let (outcome, took) = fleet.ask(member).await;
            assert!(
                matches!(outcome, Err(ProviderError::Unavailable(_))),
                "{condition:?}: {outcome:?}"
            );
            assert!(took < patience / 4, "{condition:?} was refused after {took:?}");
        }
        match condition {
            Condition::Throttling => assert_eq!(asked(&member.simulator), 1, "it asked for a minute"),
            Condition::Failing | Condition::Truncating => {
                let most = 5 + concurrency;
                assert!(
                    asked(&member.simulator) <= most,
                    "{condition:?}: {}",
                    asked(&member.simulator)
                );
            }
            Condition::Healthy
            | Condition::Hanging
            | Condition::Mute
            | Condition::Cutting
            | Condition::Absent
            | Condition::Slow
            | Condition::Expiring
            | Condition::CertificateExpired
            | Condition::CertificateNotYetValid
            | Condition::CertificateOfAnother
            | Condition::Refusing => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_five_failures_one_call_at_a_time_finds_out() {
    let simulator = simulator().await;
    let limits = CallLimits {
        breaker_open: Duration::from_secs(10),
        ..generous()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    let lets_through = || async { !provider.breaker_open(CLUSTER) };
    let fault = always(FaultEffect::status(500, "InternalError"));
    simulator.faults().inject(fault);
    for failure in 1..=5 {
        assert!(!provider.breaker_open(CLUSTER), "before failure {failure}");
        let outcome = ask(&provider).await;
        assert!(matches!(outcome, Err(ProviderError::Unreachable(_))), "{outcome:?}");
    }
    assert!(provider.breaker_open(CLUSTER));
    let outcome = ask(&provider).await;
    assert!(matches!(outcome, Err(ProviderError::Unavailable(_))), "{outcome:?}");
    assert_eq!(asked(&simulator), 5);

    eventually("the breaker lets a call through", lets_through).await;
    let outcomes = join_all((0..10).map(|_| ask(&provider))).await;
    let failed = |outcome: &&Result<bool, ProviderError>| matches!(outcome, Err(ProviderError::Unreachable(_)));
    let refused = |outcome: &&Result<bool, ProviderError>| matches!(outcome, Err(ProviderError::Unavailable(_)));
    let counts = (
        outcomes.iter().filter(failed).count(),
        outcomes.iter().filter(refused).count(),
    );
    assert_eq!(counts, (1, 9), "{outcomes:?}");
    assert_eq!(asked(&simulator), 6);
    assert!(provider.breaker_open(CLUSTER), "it failed again");

    simulator.faults().clear();
    eventually("the breaker lets a call through", lets_through).await;
    assert_eq!(ask(&provider).await, Ok(true));
    let outcomes = join_all((0..10).map(|_| ask(&provider))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(true)), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_new_credentials_close_the_breaker() {
    let simulator = simulator().await;
    let (provider, credentials) = provider(&simulator.kubeconfig(), generous());
    let rule = simulator
        .faults()
        .inject(always(FaultEffect::status(503, "ServiceUnavailable")));
    for _ in 0..5 {
        assert!(ask(&provider).await.is_err());
    }
    simulator.faults().revoke(rule);
    let outcome = ask(&provider).await;
    assert!(matches!(outcome, Err(ProviderError::Unavailable(_))), "{outcome:?}");
    assert!(provider.probe(CLUSTER).await.is_ok(), "health is always looked at");
    assert_eq!(ask(&provider).await, Ok(true));

    credentials.set(CLUSTER, &dead(&simulator.kubeconfig()), "2");
    provider.invalidate(CLUSTER);
    for _ in 0..5 {
        assert!(ask(&provider).await.is_err());
    }
    assert!(provider.breaker_open(CLUSTER));
    credentials.set(CLUSTER, &simulator.kubeconfig(), "3");
    provider.invalidate(CLUSTER);
    let outcome = ask(&provider).await;
    assert_eq!(outcome, Ok(true), "nothing is known about the new credentials");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_displeases_is_no_failure() {
    let simulator = simulator().await;
    let (provider, _) = provider(&simulator.kubeconfig(), generous());
    for (code, reason) in [
        (403, "Forbidden"),
        (409, "Conflict"),
        (410, "Expired"),
        (422, "Invalid"),
        (429, "TooManyRequests"),
    ] {
        let rule = simulator.faults().inject(always(FaultEffect::status(code, reason)));
        for _ in 0..6 {
            let outcome = ask(&provider).await;
            assert!(
                !matches!(outcome, Ok(_) | Err(ProviderError::Unavailable(_))),
                "{code}: {outcome:?}"
            );
        }
        simulator.faults().revoke(rule);
    }
    assert_eq!(asked(&simulator), 30);
    assert!(!provider.breaker_open(CLUSTER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_asks_for_a_pause_gets_it() {
    let simulator = simulator().await;
    let (provider, _) = provider(&simulator.kubeconfig(), generous());
    let throttle = |seconds| FaultRule::next(1, "GET", "/namespaces/", FaultEffect::throttled(seconds));
    let throttled = |outcome: Result<bool, ProviderError>| {
        let Err(ProviderError::Throttled {
            retry_after: Some(wait),
        }) = outcome
        else {
            panic!("a pause was asked for, but {outcome:?}")
        };
        wait
    };

    simulator.faults().inject(throttle(1));
    let begin = Instant::now();
    assert_eq!(throttled(ask(&provider).await), Duration::from_secs(1));
    assert_eq!(ask(&provider).await, Ok(true), "a short pause is waited for");
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(950), "{took:?}");

    simulator.faults().inject(throttle(20));
    assert_eq!(throttled(ask(&provider).await), Duration::from_secs(20));
    simulator.cluster().clear_requests();
    let rest = throttled(ask(&provider).await);
    assert!(
        rest > Duration::from_secs(10) && rest <= Duration::from_secs(20),
        "{rest:?}"
    );
    assert_eq!(asked(&simulator), 0, "a long one is the caller's to wait for");
    assert!(provider.probe(CLUSTER).await.is_ok(), "health is always looked at");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_its_own_holds_at_once() {
    let simulator = simulator().await;
    let limits = CallLimits {
        call_timeout: Duration::from_secs(60),
        permit_wait: Duration::from_millis(300),
        concurrency: 1,
        ..generous()
    };
    let (provider, credentials) = provider(&simulator.kubeconfig(), limits);
    simulator
        .faults()
        .inject(FaultRule::always("GET", "/namespaces/stuck", FaultEffect::Hang));
    let limit = |calls| {
        credentials.limit(CLUSTER, calls);
        provider.invalidate(CLUSTER);
    };
    let busy = |outcome: Result<bool, ProviderError>| matches!(outcome, Err(ProviderError::Unavailable(_)));
    let script = async {
        assert!(busy(ask(&provider).await), "the only permit is in use");
        assert!(provider.probe(CLUSTER).await.is_ok(), "health waits for no other call");
        limit(2);
        assert_eq!(ask(&provider).await, Ok(true));
        limit(1);
        assert!(busy(ask(&provider).await), "the call under way keeps its permit");
        limit(3);
        let outcomes = join_all([ask(&provider), ask(&provider)]).await;
        assert_eq!(outcomes, [Ok(true), Ok(true)]);
        limit(1);
    };
    tokio::select! {
        biased;
        outcome = ask_for(&provider, "stuck") => panic!("nobody answers this: {outcome:?}"),
        () = script => {}
    }
    assert_eq!(ask(&provider).await, Ok(true), "the permit of the dropped call is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_come_at_the_agreed_rate() {
    let simulator = simulator().await;
    let (rate, burst, calls) = (20, 5, 25);
    let limits = CallLimits {
        requests_per_second: rate,
        burst,
        ..generous()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    let begin = Instant::now();
    let outcomes = join_all((0..calls).map(|_| ask(&provider))).await;
    let took = begin.elapsed();
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(true)), "{outcomes:?}");
    assert_eq!(asked(&simulator), calls);
    let allowed = f64::from(burst) + f64::from(rate) * took.as_secs_f64() + 1.0;
    assert!(asked(&simulator) as f64 <= allowed, "{calls} requests in {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_does_not_come_in_time_is_no_failure_of_the_cluster() {
    let simulator = simulator().await;
    let limits = CallLimits {
        requests_per_second: 1,
        burst: 1,
        permit_wait: Duration::from_millis(100),
        breaker_failures: 1,
        ..generous()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    assert_eq!(ask(&provider).await, Ok(true));
    // A turn comes every second, so that one of them may have its turn.
    let outcomes = join_all((0..10).map(|_| ask(&provider))).await;
    let answered = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
    let refused = |outcome: &&Result<bool, ProviderError>| matches!(outcome, Err(ProviderError::Unavailable(_)));
    let refused = outcomes.iter().filter(refused).count();
    assert!(refused > 0 && answered + refused == outcomes.len(), "{outcomes:?}");
    assert_eq!(asked(&simulator), 1 + answered);
    assert!(!provider.breaker_open(CLUSTER));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_give_up_keep_no_permits() {
    let simulator = simulator().await;
    let concurrency = 5;
    let limits = CallLimits {
        call_timeout: Duration::from_secs(30),
        permit_wait: Duration::from_secs(3),
        concurrency,
        ..generous()
    };
    let (provider, _) = provider(&simulator.kubeconfig(), limits);
    assert_eq!(ask(&provider).await, Ok(true));
    let rule = simulator
        .faults()
        .inject(FaultRule::always("GET", "/namespaces/", FaultEffect::Hang));
    let given_up = join_all((0..200).map(|call| {
        let patience = Duration::from_millis(1 + call % 40);
        tokio::time::timeout(patience, ask(&provider))
    }))
    .await;
    assert!(given_up.iter().all(Result::is_err), "{given_up:?}");
    assert!(
        !provider.breaker_open(CLUSTER),
        "giving up says nothing about the cluster"
    );

    simulator.faults().revoke(rule);
    let longer_than_a_permit_is_waited_for = FaultEffect::Delay { milliseconds: 8_000 };
    simulator.faults().inject(always(longer_than_a_permit_is_waited_for));
    let outcomes = join_all((0..=concurrency).map(|_| ask(&provider))).await;
    let answered = outcomes.iter().filter(|outcome| **outcome == Ok(true)).count();
    assert_eq!(answered, concurrency, "{outcomes:?}");
    let last = &outcomes[concurrency];
    assert!(matches!(last, Err(ProviderError::Unavailable(_))), "{last:?}");
}
