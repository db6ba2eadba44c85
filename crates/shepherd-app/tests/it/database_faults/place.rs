//! Servers and addresses to which things happen, and the work that goes on meanwhile.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shepherd_testkit::postgres::OwnServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

use crate::client::{Caller, Reply, send};
use crate::server::{Home, PATIENCE, eventually};
use crate::world::{CARRIED_OUT, User, World, creations, text};

/// The name of the database on every server.
pub const DATABASE: &str = "shepherd";
const TEMPLATES: [&str; 3] = ["ubuntu-24-04", "debian-12", "fedora-42"];
const SIZES: [&str; 4] = ["small", "medium", "large", "xlarge"];
/// Machines that are asked for while things happen.
pub const MACHINES: usize = TEMPLATES.len() * SIZES.len();
/// A request is sent again until it is answered, for as long as the longest fault takes and more.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_millis(100);

/// A server of the test's own with an empty database.
pub async fn server(settings: &[&str]) -> OwnServer {
    let server = OwnServer::start(settings).await.unwrap();
    server.execute(&format!("CREATE DATABASE {DATABASE}")).await.unwrap();
    server
}

/// An installation in the database of that address, with a schema.
pub async fn home(url: String) -> Home {
    let home = Home::at(url);
    let (succeeded, said) = home.run(&["migrate", "up"], &[]).await;
    assert!(succeeded, "shepherd migrate up failed: {said}");
    home
}

/// An address that leads to one server and later to another, as that of a highly available database does.
pub struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Leads to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(port));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&target)));
        Self {
            port: own,
            target,
            _serving: serving,
        }
    }

    /// Leads new connections to another port.
    pub fn switch_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }

    /// The address of a server's database through this one.
    pub fn url(&self, server: &OwnServer) -> String {
        let mut url = Url::parse(&server.url(DATABASE).unwrap()).unwrap();
        url.set_port(Some(self.port)).unwrap();
        url.into()
    }
}

async fn accept(listener: TcpListener, target: Arc<AtomicU16>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((client, _)) = listener.accept().await {
            connections.spawn(pass_on(client, target.load(Ordering::Relaxed)));
        }
    }
}

async fn pass_on(mut client: TcpStream, port: u16) {
    if let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        // Either end may break off; the other one is dropped with it.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

/// What people did while things happened.
#[derive(Default)]
pub struct Work {
    accepted: AtomicUsize,
    come_again: AtomicUsize,
}

impl Work {
    /// Waits until so many machines were asked for.
    pub async fn reaches(&self, accepted: usize) {
        eventually(&format!("{accepted} requests are accepted"), PATIENCE * 4, async || {
            (self.accepted.load(Ordering::Relaxed) >= accepted).then_some(())
        })
        .await;
    }

    /// Alice asks for every machine and Bob approves it, both as long as it takes; answers the tickets.
    pub async fn done(&self, world: &World) -> Vec<String> {
        let lanes = TEMPLATES.map(|template| async move {
            let mut tickets = Vec::new();
            for size in SIZES {
                tickets.push(self.one_machine(world, template, size).await);
            }
            tickets
        });
        join_all(lanes).await.concat()
    }

    async fn one_machine(&self, world: &World, template: &str, size: &str) -> String {
        let mut body = world.vm_body("dev");
        body["template_id"] = json!(world.template(template));
        body["instance_size_id"] = json!(world.size(size));
        let asked = self
            .insist(&world.as_(User::Alice), "/vms", &format!("{template} {size}"), &body)
            .await;
        let ticket = text(&asked.ok(202)["ticket_id"]);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let path = format!("/approvals/{ticket}/approve");
        let decided = self.insist(&world.as_(User::Bob), &path, &ticket, &json!({})).await;
        // The answer to an earlier attempt that was kept may have been lost with its connection.
        assert!(
            decided.status == 204 || decided.code() == "TICKET_NOT_PENDING",
            "{}: {}",
            decided.status,
            decided.text
        );
        ticket
    }

    /// Sends a request until it is answered by something else than "come again".
    async fn insist(&self, caller: &Caller, path: &str, key: &str, body: &Value) -> Reply {
        for _ in 0..ATTEMPTS {
            let request = caller
                .request(Method::POST, path)
                .header("idempotency-key", key)
                .json(body);
            let reply = send(request).await;
            match (reply.status, reply.code()) {
                (503, "SERVICE_BUSY") => {
                    assert!(!reply.header("retry-after").is_empty(), "a 503 says when to come again");
                    self.come_again.fetch_add(1, Ordering::Relaxed);
                }
                (409, "IDEMPOTENCY_IN_PROGRESS") => {}
                _ => return reply,
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("POST {path} was never answered");
    }

    /// What was accepted was carried out, all of it, once.
    pub async fn happened_exactly_once(&self, world: &World, tickets: &[String]) {
        assert_eq!(tickets.len(), MACHINES);
        for ticket in tickets {
            world.wait_for_ticket(ticket, "COMPLETED").await;
            let vm = world.vm_of(ticket).await;
            world.wait_for_vm_status(&vm, "RUNNING").await;
        }
        world.wait_for_queue().await;
        for ticket in tickets {
            assert_eq!(
                once_each(world.transitions_of(ticket).await),
                CARRIED_OUT,
                "history of {ticket}"
            );
            let made = world.audit_of(ticket).await;
            assert_eq!(
                made.iter().filter(|action| *action == "vm.create").count(),
                1,
                "{made:?}"
            );
        }
        let rows = |count: usize| i64::try_from(count).unwrap();
        assert_eq!(world.home.count("approval_tickets").await, rows(MACHINES), "tickets");
        assert_eq!(world.home.count("vms").await, rows(MACHINES), "rows");
        assert_eq!(world.home.count("vm_revisions").await, rows(MACHINES), "revisions");
        let made = creations(&world.test, "dev");
        assert_eq!(made.len(), MACHINES, "machines on the cluster: {made:?}");
        assert!(made.values().all(|times| *times == 1), "{made:?}");
        println!(
            "{MACHINES} operations attempted and completed, 0 lost, 0 doubled; {} requests were told to come again",
            self.come_again.load(Ordering::Relaxed)
        );
    }
}

/// A history without the repetitions that a further attempt at the work writes.
fn once_each(mut history: Vec<String>) -> Vec<String> {
    history.dedup();
    history
}

/// Nothing can be asked while the database is away, and the answer says so.
pub async fn is_told_to_come_again(caller: &Caller) {
    let reply = caller.get("/systems").await;
    assert!(!reply.header("retry-after").is_empty(), "{}", reply.text);
    reply.refused(503, "SERVICE_BUSY");
}

/// The process is ready again.
pub async fn is_ready(world: &World, ready: bool) {
    let wanted = if ready { 200 } else { 503 };
    eventually(&format!("readiness answers {wanted}"), PATIENCE, async || {
        let reply = world.anonymous().get("/health/ready").await;
        (reply.status == wanted).then_some(())
    })
    .await;
}
