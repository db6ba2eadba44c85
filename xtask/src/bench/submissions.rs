//! Accepted `POST /api/v1/vms` per second, against pgbench running the very statements such a request sends.
//!
//! No cluster is registered, so none is eligible and no request leaves the machine for a preview. Both sides use the
//! same database, the same number of connections and as many statements; their rounds alternate, so that a machine
//! that gets slower does so for both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use super::bed::{Bed, execute};
use super::capture::{self, Statement};
use super::figure::{Figure, Goal, median};
use super::http::{Connection, request};
use super::people::{self, Person};
use super::pgbench::{self, Load, Script, Varying};
use crate::progress::Step;

const CONNECTIONS: usize = 16;
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_secs(8);
const WARM_UP: Duration = Duration::from_secs(2);
const SERVICES: usize = 2_000;
const NAMESPACES: [&str; 4] = ["bench-a", "bench-b", "bench-c", "bench-d"];

/// One System whose member asks, with many Services, whose ids are their numbers.
const STOCK: &str = "
    INSERT INTO systems (id, name, created_by) VALUES (lpad('1', 32, '0')::uuid, 'bench', 'system:bench');
    INSERT INTO services (id, system_id, name, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, lpad('1', 32, '0')::uuid, 's' || n, 'system:bench'
        FROM generate_series(1, 2000) AS n;
    INSERT INTO namespace_registry (id, name, environment, created_by)
        SELECT gen_random_uuid(), 'bench-' || letter, 'test', 'system:bench'
        FROM unnest(ARRAY['a', 'b', 'c', 'd']) AS letter;
";
const MEMBERSHIP: &str = "INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, role, granted_by) \
     VALUES (gen_random_uuid(), $1::uuid, 'system', lpad('1', 32, '0')::uuid, 'member', 'system:bench')";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_submissions").await?;
    let served = bed.serve(&database, "api").await?;
    let administrator = people::administrator(bed, &served).await?;
    // One approver, so that every request has somebody to notify beside the administrator.
    people::user(&served, &administrator, "approver", "role-approver").await?;
    let requester = people::user(&served, &administrator, "requester", "role-operator").await?;
    let mut db = database.connect().await?;
    execute(&mut db, STOCK).await?;
    sqlx::query(MEMBERSHIP).bind(&requester.id).execute(&mut db).await?;
    let wishes = Arc::new(Wishes::of(&mut db, &requester).await?);

    step.detail("capturing the statements of a request");
    let script = captured_script(&mut db, served.port, &wishes, &requester).await?;
    execute(&mut db, "ANALYZE").await?;
    accepted_per_second(served.port, &wishes, WARM_UP).await?;

    let (mut accepted, mut alone) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        step.detail(&format!("round {round} of {ROUNDS}: shepherd"));
        accepted.push(accepted_per_second(served.port, &wishes, ROUND).await?);
        step.detail(&format!("round {round} of {ROUNDS}: pgbench"));
        let load = Load {
            connections: CONNECTIONS,
            seconds: ROUND.as_secs(),
            services: u64::try_from(SERVICES)?,
            first_number: u64::from(round) << 40,
        };
        alone.push(pgbench::run(bed, &database, &script, load).await?);
    }
    served.stop().await;
    let ratios: Vec<f64> = accepted.iter().zip(&alone).map(|(ours, alone)| ours / alone).collect();
    let details = json!({"accepted_per_s": accepted, "pgbench_tps": alone, "ratios": ratios});
    let figure = Figure::new("submissions_vs_pgbench", median(&ratios), "x", Goal::AtLeast(0.6))
        .noted("16 connections each, the statements of a request captured from the server's log; median of 3 rounds")
        .detailed(details);
    Ok(vec![figure])
}

/// Requests of one user, no two of which ask for the same.
struct Wishes {
    token: String,
    templates: Vec<String>,
    sizes: Vec<String>,
    made: AtomicUsize,
}

/// A request, and the Service it is for.
struct Wish {
    service: String,
    request: Vec<u8>,
}

impl Wishes {
    async fn of(db: &mut PgConnection, requester: &Person) -> anyhow::Result<Self> {
        let templates: Vec<String> = sqlx::query_scalar("SELECT id::text FROM templates WHERE status = 'active'")
            .fetch_all(&mut *db)
            .await?;
        let sizes: Vec<String> = sqlx::query_scalar("SELECT id::text FROM instance_sizes WHERE enabled")
            .fetch_all(&mut *db)
            .await?;
        ensure!(
            !templates.is_empty() && !sizes.is_empty(),
            "the seeds hold no catalogue"
        );
        Ok(Self {
            token: requester.token.clone(),
            templates,
            sizes,
            made: AtomicUsize::new(0),
        })
    }

    /// The next combination of Service, namespace, size and template.
    fn next(&self) -> anyhow::Result<Wish> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let (service, rest) = (number % SERVICES + 1, number / SERVICES);
        let (namespace, rest) = (NAMESPACES[rest % NAMESPACES.len()], rest / NAMESPACES.len());
        let (size, rest) = (&self.sizes[rest % self.sizes.len()], rest / self.sizes.len());
        let template = self.templates.get(rest).context("no combination is left to ask for")?;
        let service = format!("00000000-0000-0000-0000-{service:012x}");
        let body = format!(
            r#"{{"service_id":"{service}","template_id":"{template}","instance_size_id":"{size}","namespace":"{namespace}","reason":"bench"}}"#
        );
        Ok(Wish {
            request: request("POST", "/vms", Some(&self.token), Some(&body)),
            service,
        })
    }
}

async fn accepted_per_second(port: u16, wishes: &Arc<Wishes>, duration: Duration) -> anyhow::Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(port).await?);
    }
    let started = Instant::now();
    let end = started + duration;
    let mut askers = JoinSet::new();
    for connection in connections {
        askers.spawn(ask_until(connection, Arc::clone(wishes), end));
    }
    let mut accepted = 0;
    while let Some(asker) = askers.join_next().await {
        accepted += asker??;
    }
    Ok(f64::from(accepted) / started.elapsed().as_secs_f64())
}

async fn ask_until(mut connection: Connection, wishes: Arc<Wishes>, end: Instant) -> anyhow::Result<u32> {
    let mut accepted = 0;
    while Instant::now() < end {
        let reply = connection.send(&wishes.next()?.request).await?;
        if reply.status != 202 {
            bail!(
                "a request was answered {}: {}",
                reply.status,
                String::from_utf8_lossy(&reply.body)
            );
        }
        accepted += 1;
    }
    Ok(accepted)
}

/// What one request runs, as a script. The first request is not the one: it finds nothing cached.
async fn captured_script(
    db: &mut PgConnection,
    port: u16,
    wishes: &Wishes,
    requester: &Person,
) -> anyhow::Result<Script> {
    let mut connection = Connection::open(port).await?;
    connection.send(&wishes.next()?.request).await?.json(202)?;
    let wish = wishes.next()?;
    let asked = async { connection.send(&wish.request).await?.json(202) };
    let (answer, statements) = capture::during(db, asked).await?;
    check(&statements)?;
    let varying = Varying {
        service: wish.service,
        requester: requester.id.clone(),
        event: people::text(&answer, "event_id")?,
        ticket: people::text(&answer, "ticket_id")?,
    };
    Ok(Script::of(&statements, &varying))
}

/// Refuses to compare with less, or more, than one request.
fn check(statements: &[Statement]) -> anyhow::Result<()> {
    let is = |wanted: &str| {
        statements
            .iter()
            .filter(|statement| statement.text.contains(wanted))
            .count()
    };
    let wanted = [
        "BEGIN",
        "INSERT INTO domain_events",
        "INSERT INTO approval_tickets",
        "INSERT INTO audit_logs",
        "INSERT INTO notifications",
        "COMMIT",
    ];
    for part in wanted {
        ensure!(
            is(part) == 1,
            "the log has {} times {part} for one request: {statements:#?}",
            is(part)
        );
    }
    Ok(())
}
