//! Approvals and rejections per second while 10,000 requests wait, against pgbench running the very statements of an
//! approval.
//!
//! An approval asks the cluster for a dry run, on a simulated one without controllers; pgbench has no such thing to do.
//! Rounds of both alternate, so that a machine that gets slower does so for both. No worker runs: what is approved
//! stays in the queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::bail;
use serde_json::json;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use super::bed::{Bed, Database, Served, execute};
use super::capture::{self, Statement};
use super::figure::{Figure, Goal, median, milliseconds, percentile};
use super::http::{Connection, request};
use super::pending::{self, PENDING, Requesters, Requests, SERVICES};
use super::people::{self, Person};
use super::pgbench::{self, Load, Script, Varying};
use super::projection::{ENVIRONMENT, register_as};
use super::replay::{self, Captured};
use crate::fleet::Fleet;
use crate::progress::Step;

const CONNECTIONS: usize = 8;
const ROUNDS: u64 = 3;
/// Decisions of a round.
const ROUND: u64 = 1_000;
/// Decisions nobody looks at.
const WARM_UP: u64 = 100;
/// Approvals at the pace that is kept towards a cluster by default, the first burst included.
const PACED: u64 = 200;
const ALONE_SECONDS: u64 = 4;
/// What pgbench finds to approve in a round: more than it can in that time, as there is nothing after the last.
const ALONE: u64 = 24_000;
/// Where the numbers of pgbench's requests begin.
const ALONE_FIRST: u64 = 1_000_000;
/// So fast that the pace towards a cluster never holds anybody up.
const UNPACED: [(&str, &str); 3] = [ENVIRONMENT[0], ("K8S_QPS", "100000"), ("K8S_BURST", "100000")];

/// The cluster is said to be well and not looked at, so that nothing else asks it meanwhile.
const WELL: &str = "
    UPDATE clusters SET status = 'HEALTHY', last_checked_at = now(), last_healthy_at = now(),
        capabilities_detected_at = now(), storage_classes = '{standard}', storage_classes_updated_at = now();
    UPDATE clusters SET default_storage_class = 'standard';
    INSERT INTO cluster_watches (cluster_id, state, since) SELECT id, 'LIVE', now() FROM clusters
        ON CONFLICT (cluster_id) DO UPDATE SET state = 'LIVE';
";
/// What pgbench leaves does not wait any longer.
const CLEAR: &str = "UPDATE approval_tickets SET status = 'CANCELLED' \
     WHERE status = 'PENDING_APPROVAL' AND id >= lpad(to_hex(1000000), 32, '0')::uuid";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_approvals").await?;
    let fleet = Fleet::start(bed.fleet(), bed.directory(), 1, 0).await?;
    let served = bed.serve_with(&database, "api", &ENVIRONMENT).await?;
    let administrator = people::administrator(bed, &served).await?;
    register_as(&served, &administrator, &fleet).await?;
    let approver = people::user(&served, &administrator, "approver", "role-approver").await?;
    let mut db = database.connect().await?;
    execute(&mut db, WELL).await?;
    pending::stock(&mut db).await?;
    let cluster: String = sqlx::query_scalar("SELECT id::text FROM clusters")
        .fetch_one(&mut db)
        .await?;
    let mut desk = Desk {
        approver,
        cluster,
        taken: 0,
        inserted: 0,
    };

    step.detail("at the default pace");
    let paced = desk.round(&mut db, &served, Decision::Approve, PACED).await?;
    served.stop().await;

    // Sessions outlive the process.
    let served = bed.serve_with(&database, "api", &UNPACED).await?;
    step.detail("capturing the statements of an approval");
    desk.round(&mut db, &served, Decision::Approve, WARM_UP).await?;
    let script = captured_script(&mut db, &served, &mut desk).await?;
    let (mut approved, mut alone) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        step.detail(&format!("round {round} of {ROUNDS}: shepherd"));
        approved.push(desk.round(&mut db, &served, Decision::Approve, ROUND).await?);
        step.detail(&format!("round {round} of {ROUNDS}: pgbench"));
        alone.push(approved_alone(bed, &database, &mut db, &script, round).await?);
    }
    step.detail("rejecting");
    let rejected = desk.round(&mut db, &served, Decision::Reject, ROUND).await?;
    served.stop().await;
    Ok(figures(&paced, &approved, &alone, &rejected))
}

fn figures(paced: &Decided, approved: &[Decided], alone: &[f64], rejected: &Decided) -> Vec<Figure> {
    let rates: Vec<f64> = approved.iter().map(|round| round.per_second).collect();
    let ratios: Vec<f64> = rates.iter().zip(alone).map(|(ours, alone)| ours / alone).collect();
    let samples: Vec<f64> = approved.iter().flat_map(|round| round.samples.clone()).collect();
    let details = json!({"pending": PENDING, "rounds": rates, "at_20_calls_per_s": paced.per_second});
    vec![
        Figure::new("approvals_per_s", median(&rates), "1/s", Goal::AtLeast(50.0))
            .noted(
                "8 connections, 10,000 requests wait, dry run on a simulated cluster included, K8S_QPS and K8S_BURST \
                 raised; in the details also with the defaults (20 calls/s per cluster, burst of 40), which are the limit",
            )
            .detailed(details),
        Figure::new("approval_p99", percentile(&samples, 99), "ms", Goal::AtMost(300.0))
            .noted("of one approval in the same rounds")
            .detailed(json!({"p50_ms": median(&samples)})),
        Figure::new("approvals_vs_pgbench", median(&ratios), "x", Goal::AtLeast(0.25))
            .noted("8 connections each, the statements of an approval captured from the log; pgbench asks no cluster")
            .detailed(json!({"approved_per_s": rates, "pgbench_tps": alone, "ratios": ratios})),
        Figure::new("rejections_per_s", rejected.per_second, "1/s", Goal::AtLeast(100.0))
            .noted("8 connections, 10,000 requests wait")
            .detailed(json!({"p99_ms": percentile(&rejected.samples, 99)})),
    ]
}

/// What an approver decides.
#[derive(Clone, Copy, Debug)]
enum Decision {
    Approve,
    Reject,
}

/// How a round went.
struct Decided {
    per_second: f64,
    /// Milliseconds of each decision.
    samples: Vec<f64>,
}

/// The approver, and which of the requests are decided: the numbers up to `taken`, of `inserted`.
struct Desk {
    approver: Person,
    cluster: String,
    taken: u64,
    inserted: u64,
}

impl Desk {
    /// Decides so many on all connections, while 10,000 wait at the beginning.
    async fn round(
        &mut self,
        db: &mut PgConnection,
        served: &Served,
        decision: Decision,
        count: u64,
    ) -> anyhow::Result<Decided> {
        self.refill(db).await?;
        let mut requests = Vec::new();
        for _ in 0..count {
            let number = self.take();
            requests.push(self.request(decision, number));
        }
        decide(served.port, requests).await
    }

    /// As many wait as are to wait.
    async fn refill(&mut self, db: &mut PgConnection) -> anyhow::Result<()> {
        let wanted = self.taken + PENDING;
        if self.inserted < wanted {
            let requests = Requests {
                numbers: self.inserted + 1..=wanted,
                requesters: Requesters::Fifty,
                half_prod: false,
            };
            pending::insert(db, &requests).await?;
            self.inserted = wanted;
        }
        pending::ensure_pending(db, PENDING).await?;
        execute(db, "VACUUM (ANALYZE)").await
    }

    /// The longest waiting one that is not decided yet, by its number.
    fn take(&mut self) -> u64 {
        self.taken += 1;
        self.taken
    }

    fn request(&self, decision: Decision, number: u64) -> Vec<u8> {
        let id = pending::id(number);
        let (verb, body) = match decision {
            Decision::Approve => ("approve", json!({"selected_cluster_id": self.cluster})),
            Decision::Reject => ("reject", json!({"reason": "bench"})),
        };
        let path = format!("/approvals/{id}/{verb}");
        request("POST", &path, Some(&self.approver.token), Some(&body.to_string()))
    }
}

/// Sends the requests, each connection the next one that nobody has sent.
async fn decide(port: u16, requests: Vec<Vec<u8>>) -> anyhow::Result<Decided> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(port).await?);
    }
    let (requests, next) = (Arc::new(requests), Arc::new(AtomicUsize::new(0)));
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for connection in connections {
        senders.spawn(send_next(connection, Arc::clone(&requests), Arc::clone(&next)));
    }
    let mut samples: Vec<f64> = Vec::new();
    while let Some(sender) = senders.join_next().await {
        samples.extend(sender??);
    }
    let seconds = started.elapsed().as_secs_f64();
    let decided = u32::try_from(samples.len())?;
    Ok(Decided {
        per_second: f64::from(decided) / seconds,
        samples,
    })
}

async fn send_next(
    mut connection: Connection,
    requests: Arc<Vec<Vec<u8>>>,
    next: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<f64>> {
    let mut samples = Vec::new();
    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let asked = Instant::now();
        send(&mut connection, request).await?;
        samples.push(milliseconds(asked.elapsed()));
    }
    Ok(samples)
}

async fn send(connection: &mut Connection, request: &[u8]) -> anyhow::Result<()> {
    let reply = connection.send(request).await?;
    if reply.status >= 300 {
        bail!(
            "a decision was answered {}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
    }
    Ok(())
}

/// pgbench approves, for as long as a round takes, requests that are inserted before and withdrawn afterwards.
async fn approved_alone(
    bed: &Bed<'_>,
    database: &Database,
    db: &mut PgConnection,
    script: &Script,
    round: u64,
) -> anyhow::Result<f64> {
    let first_number = ALONE_FIRST * round;
    let requests = Requests {
        numbers: first_number..=first_number + ALONE,
        requesters: Requesters::Nobody,
        half_prod: false,
    };
    pending::insert(db, &requests).await?;
    execute(db, "VACUUM (ANALYZE)").await?;
    let load = Load {
        connections: CONNECTIONS,
        seconds: ALONE_SECONDS,
        services: SERVICES,
        first_number,
    };
    let rate = pgbench::run(bed, database, script, load).await?;
    execute(db, CLEAR).await?;
    Ok(rate)
}

/// What one approval runs, as a script. The approvals before it have filled the caches.
async fn captured_script(db: &mut PgConnection, served: &Served, desk: &mut Desk) -> anyhow::Result<Script> {
    let number = desk.take();
    let approval = desk.request(Decision::Approve, number);
    let mut connection = Connection::open(served.port).await?;
    let approved = async { send(&mut connection, &approval).await };
    let ((), statements) = capture::during(db, approved).await?;
    replay::check(&statements)?;
    let made = statements
        .iter()
        .find(|statement| statement.text.contains("INSERT INTO vms"))
        .and_then(|statement| statement.parameters.first().cloned().flatten());
    let captured = Captured {
        ticket: pending::id(number),
        service: pending::id(1 + number / 50 % SERVICES),
        requester: pending::id(1 + number % 50),
        vm: made.unwrap_or_default(),
    };
    let statements: Vec<Statement> = statements
        .into_iter()
        .map(|statement| captured.replayable(statement))
        .collect::<anyhow::Result<_>>()?;
    let varying = Varying {
        service: captured.service,
        // Requesters are found in documents only; see `Captured::replayable`.
        requester: "nobody".to_owned(),
        event: captured.ticket.clone(),
        ticket: captured.ticket,
    };
    Ok(Script::of(&statements, &varying))
}
