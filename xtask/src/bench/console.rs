//! 200 consoles through one replica, each of a machine that sends 1 MiB per second, with one reader that is slow.
//!
//! Forty users open five consoles each, the most that one user may have. The machines ring their bells: RFB messages of
//! one byte, which need no thought at either end, and beside them they draw the keys that are typed. Twice in a second
//! each of the first consoles types one, and what is timed is how long its picture takes to come back through all of
//! that. Generator, simulated cluster and replica share the processors of one machine, and the cluster's side of every
//! console is encrypted.

mod viewer;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use sqlx::PgConnection;
use tokio::task::JoinSet;

use super::bed::{Bed, Served, execute};
use super::figure::{Figure, Goal, median, percentile};
use super::people::{self, Person};
use super::process::resident_mib;
use super::projection::{ENVIRONMENT, register_as};
use crate::fleet::Fleet;
use crate::progress::Step;
use viewer::{Course, Seen, Viewer};

const USERS: usize = 40;
const CONSOLES_OF_EACH: usize = 5;
const CONSOLES: usize = USERS * CONSOLES_OF_EACH;
const MACHINES: u32 = 200;
/// Bytes that each machine sends in a second.
const RATE: u64 = 1024 * 1024;
const MIB: f64 = 1024.0 * 1024.0;
/// How long is measured.
const SECONDS: u64 = 30;
/// From the opening of the last console to the beginning of the measurement.
const REST: Duration = Duration::from_secs(3);
/// Between two looks at the memory of the replica.
const LOOK: Duration = Duration::from_millis(500);
/// Consoles in which somebody types.
const TYPISTS: usize = 50;
/// What the slow reader takes of its console, in bytes per second.
const SLOW_RATE: usize = 32 * 1024;

/// Users work in the System of the fleet, whose machines run.
const STOCK: &str = "
    INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, role, granted_by)
        SELECT gen_random_uuid(), id, 'system', lpad('1', 32, '0')::uuid, 'member', 'system:bench'
        FROM users WHERE username LIKE 'viewer-%';
    UPDATE vms SET status = 'RUNNING';
    UPDATE clusters SET status = 'HEALTHY';
";
/// Those the replica says it relays.
const CONSOLES_OPEN: &str = "SELECT count(*) FROM console_sessions WHERE ended_at IS NULL";

/// What a run came to.
struct Measured {
    seen: Vec<Seen>,
    slow: Seen,
    idle_mib: f64,
    most_mib: f64,
    seconds: f64,
}

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("starting a cluster of 200 machines");
    let database = bed.database("bench_console").await?;
    let mut fleet = Fleet::start(bed.fleet(), bed.directory(), 1, MACHINES).await?;
    fleet.obey(&format!("ring {RATE}")).await?;
    let environment = [
        ENVIRONMENT[0],
        ("CONSOLE_MAX_SESSIONS", "200"),
        // How fast consoles may be opened is not what is measured.
        ("K8S_QPS", "100000"),
        ("K8S_BURST", "100000"),
    ];
    let served = bed.serve_with(&database, "api", &environment).await?;
    let mut db = database.connect().await?;
    let users = prepare(bed, &served, &mut db, &fleet, step).await?;
    let idle_mib = resident_mib(bed.shepherd(), served.port)?;
    step.detail("opening 200 consoles");
    let viewers = open(&served, &users).await?;
    let open: i64 = sqlx::query_scalar(CONSOLES_OPEN).fetch_one(&mut db).await?;
    ensure!(open == i64::try_from(CONSOLES)?, "{open} consoles are open");
    step.detail("1 MiB per second through each of them");
    let measured = run(bed, &served, viewers, idle_mib).await?;
    served.stop().await;
    Ok(figures(&measured))
}

/// Cluster, users and machines.
async fn prepare(
    bed: &Bed<'_>,
    served: &Served,
    db: &mut PgConnection,
    fleet: &Fleet,
    step: &Step,
) -> anyhow::Result<Vec<Person>> {
    let administrator = people::administrator(bed, served).await?;
    register_as(served, &administrator, fleet).await?;
    let mut users = Vec::new();
    for number in 1..=USERS {
        step.detail(&format!("user {number} of {USERS}"));
        let name = format!("viewer-{number}");
        users.push(people::user(served, &administrator, &name, "role-operator").await?);
    }
    execute(db, &fleet.rows()).await?;
    execute(db, STOCK).await?;
    execute(db, "VACUUM (ANALYZE)").await?;
    Ok(users)
}

/// Each user opens the consoles of the own five machines; machine and console have the same number.
async fn open(served: &Served, users: &[Person]) -> anyhow::Result<Vec<Viewer>> {
    let mut openings = JoinSet::new();
    for (user, person) in users.iter().enumerate() {
        let (port, person) = (served.port, person.clone());
        openings.spawn(async move {
            let mut viewers = Vec::new();
            for console in 1..=CONSOLES_OF_EACH {
                viewers.push(Viewer::open(port, &person, user * CONSOLES_OF_EACH + console).await?);
            }
            anyhow::Ok(viewers)
        });
    }
    let mut viewers = Vec::new();
    while let Some(opened) = openings.join_next().await {
        viewers.extend(opened??);
    }
    Ok(viewers)
}

/// Reads everything for a while, and looks at the memory of the replica meanwhile.
async fn run(bed: &Bed<'_>, served: &Served, mut viewers: Vec<Viewer>, idle_mib: f64) -> anyhow::Result<Measured> {
    let slow = viewers.pop().context("there is a console")?;
    let begin = Instant::now() + REST;
    let end = begin + Duration::from_secs(SECONDS);
    let mut readers = JoinSet::new();
    for (number, viewer) in viewers.into_iter().enumerate() {
        let course = Course {
            begin,
            end,
            types: number < TYPISTS,
            at_most: None,
        };
        readers.spawn(viewer.read(course));
    }
    let course = Course {
        begin,
        end,
        types: false,
        at_most: Some(SLOW_RATE),
    };
    let mut dawdler = JoinSet::new();
    dawdler.spawn(slow.read(course));
    let mut most_mib = idle_mib;
    while Instant::now() < end {
        most_mib = most_mib.max(resident_mib(bed.shepherd(), served.port)?);
        tokio::time::sleep(LOOK).await;
    }
    let seen: Vec<Seen> = readers.join_all().await.into_iter().collect::<anyhow::Result<_>>()?;
    let slow = dawdler.join_all().await.pop().context("the slow reader")??;
    Ok(Measured {
        seen,
        slow,
        idle_mib,
        most_mib,
        seconds: end.duration_since(begin).as_secs_f64(),
    })
}

fn figures(measured: &Measured) -> Vec<Figure> {
    let rate = |seen: &Seen| seen.bytes as f64 / MIB / measured.seconds;
    let rates: Vec<f64> = measured.seen.iter().map(rate).collect();
    let total: f64 = rates.iter().sum();
    let slowest = percentile(&rates, 0);
    let echoes: Vec<f64> = measured.seen.iter().flat_map(|seen| seen.echoes_ms.clone()).collect();
    let wanted = RATE as f64 / MIB;
    vec![
        Figure::new("console_rss", measured.most_mib, "MiB", Goal::AtMost(256.0))
            .noted("the most that was seen while 200 consoles of 1 MiB/s were relayed, one of them read slowly")
            .detailed(json!({"idle_mib": measured.idle_mib})),
        Figure::new(
            "console_throughput",
            total,
            "MiB/s",
            Goal::AtLeast(0.95 * wanted * (CONSOLES - 1) as f64),
        )
        .noted("through one replica, from the cluster over TLS to the 199 readers that read all")
        .detailed(json!({"p50_mib_s": median(&rates), "slow_reader_mib_s": rate(&measured.slow)})),
        Figure::new("console_neighbour_rate", slowest, "MiB/s", Goal::AtLeast(0.9 * wanted))
            .noted("the least that any reader beside the slow one got"),
        Figure::new("console_echo_p99", percentile(&echoes, 99), "ms", Goal::AtMost(250.0))
            .noted("from a key that is typed to its picture, in consoles that are under load")
            .detailed(json!({"p50_ms": median(&echoes), "echoes": echoes.len()})),
    ]
}
