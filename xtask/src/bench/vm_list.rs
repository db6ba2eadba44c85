//! A page of 20 machines among 100,000, for an administrator, who sees all, and for a member of five Systems.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};

use super::bed::{Bed, Served, execute};
use super::capture::{self, Statement};
use super::figure::{Figure, Goal, median, milliseconds, percentile};
use super::http::{Connection, request};
use super::people::{self, Person};
use crate::progress::Step;

const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
const PAGE: &str = "/vms?per_page=20";
/// PostgreSQL plans a prepared statement anew five times before it may settle on one plan for all values.
const PLANS: usize = 7;

/// 200 Systems of 5 Services of 100 machines, half of them in production. The key of the only cluster is not one of
/// the installation's, which is looked at when a process starts: it comes after the start.
const STOCK: &str = "
    INSERT INTO encryption_keys (key_id, source, state, retired_at) VALUES ('bench', 'external', 'retired', now());
    INSERT INTO clusters (id, name, api_server_url, encrypted_kubeconfig, encryption_key_id, status, created_by)
        VALUES (lpad('1', 32, '0')::uuid, 'bench', 'https://cluster.invalid', '\\x00', 'bench', 'HEALTHY', 'system:bench');
    INSERT INTO namespace_registry (id, name, environment, created_by) VALUES
        (gen_random_uuid(), 'bench-test', 'test', 'system:bench'), (gen_random_uuid(), 'bench-prod', 'prod', 'system:bench');
    INSERT INTO systems (id, name, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'sys' || n, 'system:bench' FROM generate_series(1, 200) AS n;
    INSERT INTO services (id, system_id, name, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex((n - 1) / 5 + 1), 32, '0')::uuid, 'svc' || n, 'system:bench'
        FROM generate_series(1, 1000) AS n;
    INSERT INTO vms (id, service_id, name, hostname, instance_index, instance, namespace, cluster_id, status,
            disk_gb, cpu_cores, memory_mb, created_by, created_at)
        SELECT gen_random_uuid(), lpad(to_hex(service), 32, '0')::uuid, name, name, index, lpad(index::text, 3, '0'),
            namespace, lpad('1', 32, '0')::uuid, 'RUNNING', 20, 2, 2048, 'system:bench',
            now() - (index * 1000 + service) * interval '1 second'
        FROM generate_series(1, 1000) AS service, generate_series(1, 100) AS index,
            LATERAL (SELECT CASE WHEN index % 2 = 0 THEN 'bench-test' ELSE 'bench-prod' END) AS place (namespace),
            LATERAL (SELECT namespace || '-sys-svc' || service || '-' || lpad(index::text, 3, '0')) AS made (name);
";
const MEMBERSHIPS: &str = "INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, role, granted_by) \
     SELECT gen_random_uuid(), $1::uuid, 'system', lpad(to_hex(n), 32, '0')::uuid, 'member', 'system:bench' \
     FROM generate_series(40, 200, 40) AS n";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("preparing");
    let database = bed.database("bench_list").await?;
    // Without controllers nobody tries to reach the cluster that does not exist.
    let served = bed.serve(&database, "api").await?;
    let administrator = people::administrator(bed, &served).await?;
    let member = people::user(&served, &administrator, "member", "role-operator").await?;
    let mut db = database.connect().await?;
    step.detail("inserting 100,000 machines");
    execute(&mut db, STOCK).await?;
    sqlx::query(MEMBERSHIPS).bind(&member.id).execute(&mut db).await?;
    // What autovacuum does by itself a minute later.
    execute(&mut db, "VACUUM (ANALYZE)").await?;

    let mut figures = Vec::new();
    let mut scans = Vec::new();
    let callers = [
        ("vm_list_p99_administrator", &administrator, 100_000),
        ("vm_list_p99_member", &member, 2_500),
    ];
    for (name, caller, visible) in callers {
        step.detail(name);
        let samples = timed(&served, caller, visible).await?;
        let details = json!({"requests": REQUESTS, "visible": visible, "p50_ms": median(&samples)});
        figures.push(Figure::new(name, percentile(&samples, 99), "ms", Goal::AtMost(20.0)).detailed(details));
        scans.push(scans_of(&mut db, &served, caller).await?);
    }
    served.stop().await;
    let page_scans = scans.iter().filter(|scan| scan.by_page).count();
    let details = json!({
        "seq_scan_on_vms": page_scans > 0,
        "count_of_all_scans_vms": {"administrator": scans[0].by_count, "member": scans[1].by_count},
    });
    let scanned = u32::try_from(page_scans).map_or(f64::MAX, f64::from);
    figures.push(
        Figure::new("vm_list_plans_that_scan", scanned, "plans", Goal::AtMost(0.0))
            .noted("plans of the page, as the server's log has the statement, with a sequential scan of vms")
            .detailed(details),
    );
    Ok(figures)
}

/// The milliseconds of each request, on one connection.
async fn timed(served: &Served, caller: &Person, visible: u64) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(served.port).await?;
    let page = request("GET", PAGE, Some(&caller.token), None);
    let first = connection.send(&page).await?.json(200)?;
    ensure!(
        first["items"].as_array().is_some_and(|items| items.len() == 20) && first["pagination"]["total"] == visible,
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

/// Whether statements of the list read all of `vms`, one after the other.
struct Scans {
    by_page: bool,
    /// An administrator's total counts every row there is, which no index shortens.
    by_count: bool,
}

async fn scans_of(db: &mut PgConnection, served: &Served, caller: &Person) -> anyhow::Result<Scans> {
    let mut connection = Connection::open(served.port).await?;
    let page = request("GET", PAGE, Some(&caller.token), None);
    let asked = async { connection.send(&page).await?.json(200) };
    let (_, statements) = capture::during(db, asked).await?;
    let of_vms = |statement: &&Statement| statement.text.contains("FROM vms v");
    let page = statements
        .iter()
        .filter(of_vms)
        .find(|statement| statement.text.contains(" LIMIT "))
        .context("the log has no statement that reads a page of machines")?;
    let count = statements
        .iter()
        .filter(of_vms)
        .find(|statement| statement.text.contains("count(*)") && !statement.text.contains(" LIMIT "));
    Ok(Scans {
        by_page: reads_all(db, page).await?,
        by_count: match count {
            Some(count) => reads_all(db, count).await?,
            None => false,
        },
    })
}

/// Plans a statement as often as a server does before it settles, and looks for a sequential scan in each plan.
async fn reads_all(db: &mut PgConnection, statement: &Statement) -> anyhow::Result<bool> {
    execute(db, &format!("PREPARE captured AS {}", statement.text)).await?;
    let values: Vec<String> = statement.parameters.iter().map(literal).collect();
    let arguments = if values.is_empty() {
        String::new()
    } else {
        format!("({})", values.join(", "))
    };
    let explain = format!("EXPLAIN EXECUTE captured{arguments}");
    let mut found = false;
    for _ in 0..PLANS {
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(explain.as_str()))
            .fetch_all(&mut *db)
            .await?;
        found |= plan.iter().any(|line| line.contains("Seq Scan on vms"));
    }
    execute(db, "DEALLOCATE captured").await?;
    Ok(found)
}

fn literal(value: &Option<String>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) => format!("'{}'", text.replace('\'', "''")),
    }
}
