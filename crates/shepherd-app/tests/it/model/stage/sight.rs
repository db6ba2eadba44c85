//! The queue under the control of the test, and everything a sequence leaves in the database and on the clusters.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::world::World;

const PAUSE: Duration = Duration::from_millis(50);

/// A new job waits for a day while there is a row here.
const HOLD: [&str; 3] = [
    "CREATE TABLE model_held (held boolean PRIMARY KEY)",
    "CREATE FUNCTION model_hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF EXISTS (SELECT FROM public.model_held) AND EXISTS (SELECT FROM graphile_worker._private_tasks t \
                 WHERE t.id = NEW.task_id AND t.identifier = 'event_job') THEN \
             NEW.run_at := now() + interval '1 day'; \
         END IF; \
         RETURN NEW; END $$",
    "CREATE TRIGGER model_hold BEFORE INSERT ON graphile_worker._private_jobs \
         FOR EACH ROW EXECUTE FUNCTION model_hold()",
];
/// What waits may run, in the order of its coming.
const RELEASE: [&str; 3] = [
    "DELETE FROM model_held",
    "UPDATE graphile_worker._private_jobs SET run_at = now() - interval '1 hour' + id * interval '1 millisecond' \
     WHERE run_at > now() + interval '12 hours' \
         AND task_id IN (SELECT id FROM graphile_worker._private_tasks WHERE identifier = 'event_job')",
    r#"SELECT pg_notify('jobs:insert', '{"r":0.5,"count":10}')"#,
];

/// Jobs that run when the test says so.
pub struct Queue<'a> {
    world: &'a World,
}

impl<'a> Queue<'a> {
    /// Makes holding possible; nothing is held yet.
    pub async fn new(world: &'a World) -> Self {
        let queue = Self { world };
        queue.all(&HOLD).await;
        queue
    }

    /// Jobs that come from now on wait.
    pub async fn hold(&self) {
        self.all(&["INSERT INTO model_held VALUES (true) ON CONFLICT DO NOTHING"])
            .await;
    }

    /// Lets all jobs run, and waits until there is none.
    pub async fn release(&self) {
        self.all(&RELEASE).await;
        self.world.wait_for_queue().await;
    }

    /// A sequence that is locked out of deletions should not lock out the next one.
    pub async fn forget_wrong_names(&self) {
        self.all(&["DELETE FROM confirmation_failures"]).await;
    }

    async fn all(&self, statements: &[&str]) {
        for statement in statements {
            assert!(!self.world.home.refuses(statement).await, "refused: {statement}");
        }
    }
}

/// A moment between two looks.
pub async fn pause() {
    tokio::time::sleep(PAUSE).await;
}

/// Everything there is of a Service: tickets with events, histories and facts; rows; objects with their disks.
pub async fn look(world: &World, service: &str, name: &str) -> BTreeMap<String, String> {
    // The first machine of a namespace makes it; which one that is does not matter here.
    let tickets = format!(
        "SELECT concat_ws(' ', t.id, t.request_type, t.status, coalesce(t.decided_by_kind, '-'), t.requester_id, \
             e.status, coalesce(t.vm_id::text, '-'), \
             (SELECT string_agg(s.to_status, ',' ORDER BY s.seq) FROM ticket_transitions s WHERE s.ticket_id = t.id), \
             coalesce((SELECT string_agg(f.event_type, ',' ORDER BY f.event_type) FROM domain_events f \
                 WHERE f.causation_id = e.id AND f.event_type <> 'NAMESPACE_CREATED'), '-')) \
         FROM approval_tickets t JOIN domain_events e ON e.id = t.event_id WHERE t.service_id = '{service}'"
    );
    let rows = format!(
        "SELECT concat_ws(' ', id, name, namespace, status, disk_gb, created_by) FROM vms WHERE service_id = '{service}'"
    );
    let mut found = objects(world, name);
    for (what, query) in [("ticket", tickets), ("vm", rows)] {
        let lines = world.home.texts(&query).await;
        found.extend(lines.iter().map(|line| {
            let (id, rest) = line.split_once(' ').unwrap_or_default();
            (format!("{what} {id}"), rest.to_owned())
        }));
    }
    found
}

/// Run strategies and disks on the clusters.
fn objects(world: &World, service: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (cluster, namespace) in [(&world.test, "dev"), (&world.prod, "prod-shop")] {
        let prefix = format!("{namespace}-shop-{service}-");
        for object in cluster.cluster().list("VirtualMachine", namespace) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if !name.starts_with(&prefix) {
                continue;
            }
            let claim = cluster
                .cluster()
                .get("PersistentVolumeClaim", namespace, &format!("{name}-data"));
            let disk = claim.map(|claim| claim["spec"]["resources"]["requests"]["storage"].clone());
            let disk = disk.as_ref().and_then(|disk| disk.as_str()).unwrap_or("-");
            let strategy = object["spec"]["runStrategy"].as_str().unwrap_or("-");
            found.insert(format!("object {name}"), format!("{strategy} {disk}"));
        }
    }
    found
}
