//! The first page of the workbench while 10,000 requests wait, half of them for production, on five clusters.

use std::time::Instant;

use anyhow::ensure;
use serde_json::json;

use super::bed::{Bed, Served, execute};
use super::figure::{Figure, Goal, median, milliseconds, percentile};
use super::http::{Connection, request};
use super::pending::{self, PENDING, Requesters, Requests};
use super::people::{self, Person};
use crate::progress::Step;

const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
const PAGE: &str = "/admin/approvals?per_page=20";

/// Five clusters to choose from, of which every waiting request says how many would take it. The key is not one of the
/// installation's, which is looked at when a process starts: they come after the start.
const CLUSTERS: &str = "
    INSERT INTO encryption_keys (key_id, source, state, retired_at) VALUES ('bench', 'external', 'retired', now());
    INSERT INTO clusters (id, name, api_server_url, encrypted_kubeconfig, encryption_key_id, status, environment,
            created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'bench-' || n, 'https://cluster.invalid', '\\x00', 'bench', 'HEALTHY',
            CASE WHEN n % 2 = 0 THEN 'prod' ELSE 'test' END, 'system:bench'
        FROM generate_series(1, 5) AS n;
";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_workbench").await?;
    // Without controllers nobody tries to reach the clusters that do not exist.
    let served = bed.serve(&database, "api").await?;
    let administrator = people::administrator(bed, &served).await?;
    let approver = people::user(&served, &administrator, "approver", "role-approver").await?;
    let mut db = database.connect().await?;
    step.detail("inserting 10,000 requests");
    execute(&mut db, CLUSTERS).await?;
    pending::stock(&mut db).await?;
    let requests = Requests {
        numbers: 1..=PENDING,
        requesters: Requesters::Fifty,
        half_prod: true,
    };
    pending::insert(&mut db, &requests).await?;
    pending::ensure_pending(&mut db, PENDING).await?;
    // What autovacuum does by itself a minute later.
    execute(&mut db, "VACUUM (ANALYZE)").await?;
    step.detail("the first page");
    let samples = timed(&served, &approver).await?;
    served.stop().await;
    let details = json!({"requests": REQUESTS, "pending": PENDING, "max_ms": percentile(&samples, 100)});
    Ok(vec![
        Figure::new("workbench_page_p50", median(&samples), "ms", Goal::AtMost(15.0)),
        Figure::new("workbench_page_p99", percentile(&samples, 99), "ms", Goal::AtMost(30.0))
            .noted("the first 20 of 10,000 that wait, for an approver of both environments, on one connection")
            .detailed(details),
    ])
}

/// The milliseconds of each request, on one connection.
async fn timed(served: &Served, caller: &Person) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(served.port).await?;
    let page = request("GET", PAGE, Some(&caller.token), None);
    let first = connection.send(&page).await?.json(200)?;
    ensure!(
        first["items"].as_array().is_some_and(|items| items.len() == 20) && first["pagination"]["total"] == PENDING,
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
