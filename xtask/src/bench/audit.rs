//! The audit log with 100,000 rows: a page of 20, as an administrator reads it, and the export of everything.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Client;
use serde_json::json;
use sqlx::PgConnection;

use super::bed::{Bed, Served, execute};
use super::figure::{Figure, Goal, median, milliseconds, percentile};
use super::http::{Connection, request};
use super::people::{self, Person};
use super::process::resident_mib;
use crate::progress::Step;

const ROWS: usize = 100_000;
const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
const EXPORTS: usize = 3;
/// An export that takes longer than this has missed every goal.
const EXPORT_LIMIT: Duration = Duration::from_secs(120);

/// 200 people doing 20 kinds of things to 5,000 machines, a row every minute for 70 days; an export may cover 92.
const STOCK: &str = "
    INSERT INTO audit_logs (id, action, action_code, performed_by, performed_by_name, performed_at, resource_type,
            resource_id, resource_name, ticket_id, environment, params, outcome, request_id, ip, user_agent,
            retention_class, retain_until)
        SELECT gen_random_uuid(), names[1 + n % 20], 'EXECUTION_COMPLETED', lpad(to_hex(n % 200), 32, '0')::uuid::text,
            'user ' || n % 200, now() - n * interval '1 minute', 'vm', lpad(to_hex(n % 5000), 32, '0')::uuid::text,
            'dev-shop-redis-' || n % 5000, gen_random_uuid(), CASE n % 3 WHEN 0 THEN 'test' WHEN 1 THEN 'prod' END,
            jsonb_build_object('operation', 'CREATE', 'namespace', 'dev', 'reason', 'a place to work', 'disk_gb', 20),
            CASE n % 50 WHEN 0 THEN 'failure' ELSE 'success' END, gen_random_uuid()::text, '192.0.2.7', 'bench',
            'prod', now() - n * interval '1 minute' + interval '365 days'
        FROM generate_series(1, 100000) AS n, (VALUES (ARRAY[
            'vm.request', 'vm.create', 'vm.execution_started', 'vm.create_failed', 'vm.delete_submitted',
            'vm.delete_executed', 'vm.start', 'vm.stop', 'approval.approve', 'approval.reject', 'user.login',
            'user.logout', 'user.login_failed', 'system.create', 'service.create', 'role.assign', 'role.revoke',
            'namespace.create', 'template.create', 'cluster.register'
        ])) AS actions (names);
";

/// What is read, and how many rows of the stock it matches; the log also holds what the bench itself did.
const PAGES: [(&str, &str, u64); 4] = [
    ("audit_list_p99", "", 100_000),
    (
        "audit_list_p99_by_actor",
        "&actor=00000000-0000-0000-0000-000000000011",
        500,
    ),
    ("audit_list_p99_by_action_prefix", "&action=vm.*", 40_000),
    (
        "audit_list_p99_by_resource",
        "&resource_type=vm&resource_id=00000000-0000-0000-0000-000000000011",
        20,
    ),
];

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_audit").await?;
    let served = bed.serve(&database, "api").await?;
    let administrator = people::administrator(bed, &served).await?;
    let mut db = database.connect().await?;
    step.detail("inserting 100,000 rows");
    execute(&mut db, STOCK).await?;
    // What autovacuum does by itself a minute later.
    execute(&mut db, "VACUUM (ANALYZE)").await?;

    let mut figures = Vec::new();
    for (name, filter, matching) in PAGES {
        step.detail(name);
        let samples = timed(&served, &administrator, filter, matching).await?;
        let details = json!({"requests": REQUESTS, "matching": matching, "p50_ms": median(&samples)});
        figures.push(Figure::new(name, percentile(&samples, 99), "ms", Goal::AtMost(20.0)).detailed(details));
    }
    let path = whole_log(&mut db).await?;
    figures.extend(exported(bed, &served, &administrator, &path, step).await?);
    served.stop().await;
    Ok(figures)
}

/// The milliseconds of each request, on one connection.
async fn timed(served: &Served, caller: &Person, filter: &str, matching: u64) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(served.port).await?;
    let path = format!("/audit-logs?per_page=20{filter}");
    let page = request("GET", &path, Some(&caller.token), None);
    let first = connection.send(&page).await?.json(200)?;
    ensure!(
        first["items"].as_array().is_some_and(|items| items.len() == 20)
            && first["pagination"]["total"]
                .as_u64()
                .is_some_and(|total| total >= matching),
        "the page is not the one to be measured: {}",
        first["pagination"]
    );
    for _ in 0..WARM_UP {
        connection.send(&page).await?;
    }
    let mut samples = Vec::new();
    for _ in 0..REQUESTS {
        let asked = Instant::now();
        let reply = connection.send(&page).await?;
        samples.push(milliseconds(asked.elapsed()));
        ensure!(reply.status == 200, "a page was answered {}", reply.status);
    }
    Ok(samples)
}

/// What came of one export.
struct Exported {
    rows: usize,
    bytes: usize,
    seconds: f64,
}

async fn exported(
    bed: &Bed<'_>,
    served: &Served,
    caller: &Person,
    path: &str,
    step: &Step,
) -> anyhow::Result<Vec<Figure>> {
    let client = client()?;
    let before = resident_mib(bed.shepherd(), served.port)?;
    let (mut rates, mut memory, mut bytes) = (Vec::new(), Vec::new(), 0);
    for number in 1..=EXPORTS {
        step.detail(&format!("export {number} of {EXPORTS}"));
        let export = export(&client, served, caller, path).await?;
        ensure!(export.rows >= ROWS, "an export has {} rows only", export.rows);
        rates.push(as_double(export.rows) / export.seconds);
        bytes = export.bytes;
        memory.push(resident_mib(bed.shepherd(), served.port)?);
    }
    let grown = memory.iter().copied().fold(before, f64::max) - before;
    let details = json!({"rows_per_second": rates, "rows": ROWS, "mib": as_double(bytes) / 1024.0 / 1024.0});
    Ok(vec![
        Figure::new("audit_export_rate", median(&rates), "rows/s", Goal::AtLeast(20_000.0))
            .noted("100,000 rows as ndjson over one connection, the client on the same machine; median of 3")
            .detailed(details),
        Figure::new("audit_export_rss_grown", grown, "MiB", Goal::AtMost(32.0))
            .noted("resident memory of the server after each export, against before the first; the largest")
            .detailed(json!({"before_mib": before, "after_mib": memory})),
    ])
}

/// The path of an export of everything: 91 days and a half around the stock, as the database's clock has them.
async fn whole_log(db: &mut PgConnection) -> anyhow::Result<String> {
    const RANGE: &str = "
        SELECT format('start_time=%s&end_time=%s', to_char(now_utc - interval '91 days', shape),
            to_char(now_utc + interval '12 hours', shape))
        FROM (VALUES (now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) AS at (now_utc, shape)";
    let range: String = sqlx::query_scalar(RANGE).fetch_one(db).await?;
    Ok(format!("/admin/audit-logs/export?format=ndjson&{range}"))
}

/// Reads an export as it comes and keeps nothing of it. One that breaks off is an error of the client.
async fn export(client: &Client, served: &Served, caller: &Person, path: &str) -> anyhow::Result<Exported> {
    let url = format!("http://127.0.0.1:{}/api/v1{path}", served.port);
    let asked = Instant::now();
    let mut answer = client
        .get(url)
        .bearer_auth(&caller.token)
        .send()
        .await?
        .error_for_status()?;
    let (mut rows, mut bytes) = (0, 0);
    while let Some(chunk) = answer.chunk().await.context("read an export")? {
        rows += chunk.iter().filter(|byte| **byte == b'\n').count();
        bytes += chunk.len();
    }
    Ok(Exported {
        rows,
        bytes,
        seconds: asked.elapsed().as_secs_f64(),
    })
}

fn client() -> anyhow::Result<Client> {
    // The server speaks plain HTTP, but the client wants to know whose cryptography it would use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(EXPORT_LIMIT)
        .build()
        .context("make an HTTP client")
}

/// A number of rows or bytes as a figure; those of a bench are far below what a double holds exactly.
fn as_double(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
