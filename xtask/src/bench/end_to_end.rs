//! From a request to its running machine, and how many operations per second ten workers carry out.
//!
//! A policy approves creations in test, so nobody has to. Users ask at a steady rate, for a cluster whose controllers
//! take milliseconds for what real ones take minutes for: what is left is what the product does. Everything is done
//! twice, with the pace that is kept towards a cluster by default and without one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::task::JoinSet;

use super::bed::{Bed, Served, execute};
use super::figure::{Figure, Goal, median, percentile};
use super::http::{Connection, request};
use super::people::{self, Person};
use super::projection::{ENVIRONMENT, register_as, until};
use crate::fleet::Fleet;
use crate::progress::Step;

const USERS: usize = 10;
const ROLES: &str = "api,worker,controllers";
/// A process starts its workers and watches after it says that it is ready.
const REST: Duration = Duration::from_secs(2);

/// How fast is asked, and how fast the product may ask the cluster.
struct Course {
    database: &'static str,
    environment: &'static [(&'static str, &'static str)],
    requests: u32,
    per_second: f64,
}

const DEFAULT_PACE: Course = Course {
    database: "bench_end_to_end_paced",
    environment: &ENVIRONMENT,
    requests: 60,
    per_second: 1.5,
};
const UNPACED: Course = Course {
    database: "bench_end_to_end",
    environment: &[ENVIRONMENT[0], ("K8S_QPS", "100000"), ("K8S_BURST", "100000")],
    requests: 200,
    per_second: 10.0,
};

/// One System whose members ask, with as many Services as there are users, and notes of when what is waited for came
/// to be. A machine's row is written again after it first says RUNNING; a note is written once, in the same
/// transaction, so that the time of its commit is the one to be measured.
const STOCK: &str = "
    INSERT INTO systems (id, name, created_by) VALUES (lpad('1', 32, '0')::uuid, 'bench', 'system:bench');
    INSERT INTO services (id, system_id, name, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, lpad('1', 32, '0')::uuid, 's' || n, 'system:bench'
        FROM generate_series(1, 10) AS n;
    INSERT INTO namespace_registry (id, name, environment, created_by)
        VALUES (gen_random_uuid(), 'fleet', 'test', 'system:bench');
    INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, role, granted_by)
        SELECT gen_random_uuid(), id, 'system', lpad('1', 32, '0')::uuid, 'member', 'system:bench'
        FROM users WHERE username LIKE 'requester-%';
    CREATE TABLE bench_running (ticket_id uuid NOT NULL);
    CREATE FUNCTION bench_note_running() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO bench_running VALUES (NEW.ticket_id);
        RETURN NULL;
    END;
    $$;
    CREATE TRIGGER bench_running AFTER UPDATE ON vms FOR EACH ROW
        WHEN (NEW.first_running_at IS NOT NULL AND OLD.first_running_at IS NULL)
        EXECUTE FUNCTION bench_note_running();
    CREATE TABLE bench_completed (request_type text NOT NULL);
    CREATE FUNCTION bench_note_completed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
    BEGIN
        INSERT INTO bench_completed VALUES (NEW.request_type);
        RETURN NULL;
    END;
    $$;
    CREATE TRIGGER bench_completed AFTER UPDATE ON approval_tickets FOR EACH ROW
        WHEN (NEW.status = 'COMPLETED' AND OLD.status <> 'COMPLETED')
        EXECUTE FUNCTION bench_note_completed();
";
const CLUSTER_IS_WELL: &str = "SELECT count(*) FROM clusters c JOIN cluster_watches w ON w.cluster_id = c.id \
     WHERE c.status = 'HEALTHY' AND w.state = 'LIVE' AND c.storage_classes <> '{}'";
const RAN: &str = "SELECT count(DISTINCT ticket_id) FROM bench_running";
const RAN_AT: &str = "SELECT ticket_id::text, min(extract(epoch FROM pg_xact_commit_timestamp(xmin)))::double precision \
     FROM bench_running GROUP BY ticket_id";

/// What one course came to.
struct Measured {
    /// Milliseconds of each request until its machine ran.
    waits: Vec<f64>,
    stops_per_s: f64,
    starts_per_s: f64,
    /// Both, one after the other.
    operations_per_s: f64,
}

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    let paced = run(bed, step, &DEFAULT_PACE).await?;
    let unpaced = run(bed, step, &UNPACED).await?;
    let mut figures = figures_of_default(&paced);
    figures.extend(figures_of_unpaced(&unpaced));
    Ok(figures)
}

fn figures_of_unpaced(measured: &Measured) -> Vec<Figure> {
    vec![
        Figure::new("end_to_end_p50", median(&measured.waits), "ms", Goal::AtMost(1000.0)),
        Figure::new(
            "end_to_end_p99",
            percentile(&measured.waits, 99),
            "ms",
            Goal::AtMost(3000.0),
        )
        .noted(
            "200 requests of 10 users at 10/s, approved by a policy, K8S_QPS and K8S_BURST raised; from when a \
                 request was due until the commit of RUNNING; the cluster's controllers take milliseconds",
        )
        .detailed(json!({"longest_ms": percentile(&measured.waits, 100)})),
        Figure::new(
            "operations_per_s",
            measured.operations_per_s,
            "1/s",
            Goal::AtLeast(20.0),
        )
        .noted(
            "200 machines stopped, then started, by 10 workers, K8S_QPS and K8S_BURST raised; from the first \
                 request until the last ticket is COMPLETED",
        )
        .detailed(operations(measured)),
    ]
}

fn figures_of_default(measured: &Measured) -> Vec<Figure> {
    vec![
        Figure::new("end_to_end_p50_default_pace", median(&measured.waits), "ms", Goal::AtMost(2000.0)),
        Figure::new(
            "end_to_end_p99_default_pace",
            percentile(&measured.waits, 99),
            "ms",
            Goal::AtMost(5000.0),
        )
        .noted("60 requests of 10 users at 1.5/s with the default pace: 20 calls/s per cluster, a burst of 40")
        .detailed(json!({"longest_ms": percentile(&measured.waits, 100)})),
        Figure::new(
            "operations_per_s_default_pace",
            measured.operations_per_s,
            "1/s",
            Goal::AtLeast(3.0),
        )
        .noted("60 machines stopped, then started, with the default pace, which is the limit: an operation is several calls")
        .detailed(operations(measured)),
    ]
}

fn operations(measured: &Measured) -> Value {
    json!({"stops_per_s": measured.stops_per_s, "starts_per_s": measured.starts_per_s})
}

async fn run(bed: &Bed<'_>, step: &Step, course: &Course) -> anyhow::Result<Measured> {
    step.detail(&format!("{}: preparing", course.database));
    let database = bed.database(course.database).await?;
    let fleet = Fleet::start_live(bed.fleet(), bed.directory()).await?;
    let served = bed.serve_with(&database, ROLES, course.environment).await?;
    let mut db = database.connect().await?;
    let users = prepare(bed, &served, &mut db, &fleet).await?;
    tokio::time::sleep(REST).await;

    step.detail(&format!("{}: requests", course.database));
    let clock = Clock::of(&mut db).await?;
    let wishes = wishes(&mut db).await?;
    let asked = ask_all(&served, &users, &wishes, course).await?;
    until(&mut db, RAN, i64::from(course.requests)).await?;
    let waits = waits(&mut db, &asked, &clock).await?;

    step.detail(&format!("{}: operations", course.database));
    let stopping = operate(&served, &mut db, &users, &clock, Power::Stop).await?;
    let stopped = "SELECT count(*) FROM vms WHERE status = 'STOPPED'";
    until(&mut db, stopped, i64::from(course.requests)).await?;
    let starting = operate(&served, &mut db, &users, &clock, Power::Start).await?;
    served.stop().await;
    let machines = f64::from(course.requests);
    Ok(Measured {
        waits,
        stops_per_s: machines / stopping,
        starts_per_s: machines / starting,
        operations_per_s: 2.0 * machines / (stopping + starting),
    })
}

/// Cluster, policy, users and what they may ask for.
async fn prepare(bed: &Bed<'_>, served: &Served, db: &mut PgConnection, fleet: &Fleet) -> anyhow::Result<Vec<Person>> {
    let administrator = people::administrator(bed, served).await?;
    register_as(served, &administrator, fleet).await?;
    let policy = json!({
        "name": "bench", "operation": "CREATE_VM", "environment": "test", "matchers": {}, "requires_approval": false,
        "priority": 1,
    });
    let call = request(
        "POST",
        "/admin/approval-policies",
        Some(&administrator.token),
        Some(&policy.to_string()),
    );
    let mut connection = Connection::open(served.port).await?;
    connection.send(&call).await?.json(201).context("create a policy")?;
    let mut users = Vec::new();
    for number in 1..=USERS {
        let name = format!("requester-{number}");
        users.push(people::user(served, &administrator, &name, "role-operator").await?);
    }
    execute(db, STOCK).await?;
    until(db, CLUSTER_IS_WELL, 1).await?;
    Ok(users)
}

/// The server's clock, which commits are stamped with, against ours.
struct Clock {
    seconds: f64,
    at: Instant,
}

impl Clock {
    async fn of(db: &mut PgConnection) -> anyhow::Result<Self> {
        let sent = Instant::now();
        let seconds = sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::double precision")
            .fetch_one(db)
            .await?;
        Ok(Self {
            seconds,
            at: sent + sent.elapsed() / 2,
        })
    }

    /// Seconds since 1970 at a later moment.
    fn read(&self, at: Instant) -> f64 {
        self.seconds + at.saturating_duration_since(self.at).as_secs_f64()
    }
}

/// What each user asks for: a small machine for the own Service.
async fn wishes(db: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    let (template, size): (String, String) = sqlx::query_as(
        "SELECT (SELECT id::text FROM templates WHERE status = 'active' ORDER BY name LIMIT 1), \
         (SELECT id::text FROM instance_sizes WHERE name = 'small')",
    )
    .fetch_one(db)
    .await
    .context("read the catalogue of the seeds")?;
    let wish = |service: usize| {
        let service = format!("00000000-0000-0000-0000-{service:012x}");
        json!({
            "service_id": service, "template_id": template, "instance_size_id": size, "namespace": "fleet",
            "reason": "bench",
        })
        .to_string()
    };
    Ok((1..=USERS).map(wish).collect())
}

/// When each request was due, by its ticket.
type Asked = HashMap<String, Instant>;

/// The users take turns, so that one request is due after the other at the rate of the course.
async fn ask_all(served: &Served, users: &[Person], wishes: &[String], course: &Course) -> anyhow::Result<Asked> {
    let mut askers = JoinSet::new();
    let started = Instant::now();
    for (number, (user, wish)) in users.iter().zip(wishes).enumerate() {
        let mut due = Vec::new();
        for turn in (u32::try_from(number)?..course.requests).step_by(USERS) {
            due.push(started + Duration::from_secs_f64(f64::from(turn) / course.per_second));
        }
        let connection = Connection::open(served.port).await?;
        let call = request("POST", "/vms", Some(&user.token), Some(wish));
        askers.spawn(ask(connection, call, due));
    }
    let mut asked = Asked::new();
    while let Some(asker) = askers.join_next().await {
        asked.extend(asker??);
    }
    Ok(asked)
}

/// A request that is late, because the one before it took long, counts from when it was due.
async fn ask(mut connection: Connection, call: Vec<u8>, due: Vec<Instant>) -> anyhow::Result<Vec<(String, Instant)>> {
    let mut asked = Vec::new();
    for due in due {
        tokio::time::sleep_until(due.into()).await;
        let answer = connection.send(&call).await?.json(202)?;
        ensure!(
            answer["status"] == "PROCESSING",
            "a request was not approved by the policy: {answer}"
        );
        asked.push((people::text(&answer, "ticket_id")?, due));
    }
    Ok(asked)
}

async fn waits(db: &mut PgConnection, asked: &Asked, clock: &Clock) -> anyhow::Result<Vec<f64>> {
    let ran: Vec<(String, f64)> = sqlx::query_as(RAN_AT).fetch_all(db).await?;
    let ran: HashMap<String, f64> = ran.into_iter().collect();
    let mut waits = Vec::new();
    for (ticket, due) in asked {
        let ran = ran.get(ticket).context("a request has a machine that ran")?;
        waits.push((ran - clock.read(*due)) * 1000.0);
    }
    Ok(waits)
}

#[derive(Clone, Copy, Debug)]
enum Power {
    Stop,
    Start,
}

impl Power {
    fn verb(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }

    fn request_type(self) -> &'static str {
        match self {
            Self::Stop => "STOP_VM",
            Self::Start => "START_VM",
        }
    }
}

/// Asks for the same of all machines, as fast as ten users can, and answers how many seconds it took until the last
/// ticket was completed.
async fn operate(
    served: &Served,
    db: &mut PgConnection,
    users: &[Person],
    clock: &Clock,
    power: Power,
) -> anyhow::Result<f64> {
    let machines: Vec<String> = sqlx::query_scalar("SELECT id::text FROM vms ORDER BY created_at, id")
        .fetch_all(&mut *db)
        .await?;
    let started = Instant::now();
    let mut askers = JoinSet::new();
    for (number, user) in users.iter().enumerate() {
        let calls: Vec<Vec<u8>> = machines
            .iter()
            .skip(number)
            .step_by(USERS)
            .map(|machine| {
                let path = format!("/vms/{machine}/{}", power.verb());
                request("POST", &path, Some(&user.token), Some("{}"))
            })
            .collect();
        let connection = Connection::open(served.port).await?;
        askers.spawn(submit(connection, calls));
    }
    while let Some(asker) = askers.join_next().await {
        asker??;
    }
    let completed = format!(
        "SELECT count(*) FROM bench_completed WHERE request_type = '{}'",
        power.request_type()
    );
    until(db, &completed, i64::try_from(machines.len())?).await?;
    let last: f64 = sqlx::query_scalar(
        "SELECT max(extract(epoch FROM pg_xact_commit_timestamp(xmin)))::double precision FROM bench_completed \
         WHERE request_type = $1",
    )
    .bind(power.request_type())
    .fetch_one(db)
    .await?;
    Ok(last - clock.read(started))
}

async fn submit(mut connection: Connection, calls: Vec<Vec<u8>>) -> anyhow::Result<()> {
    for call in calls {
        connection.send(&call).await?.json(202)?;
    }
    Ok(())
}
