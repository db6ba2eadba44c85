//! The product in the process of the test: use cases and the executor on the real adapters, a real PostgreSQL and a
//! simulated cluster. No process has to be started and no request parsed, so a test can do the same hundreds of times.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sea_orm::sqlx::{self, AssertSqlSafe, PgPool};
use sea_orm::{ConnectOptions, Database};
use serde_json::Value;
use shepherd_app::bootstrap;
use shepherd_app::config::Config;
use shepherd_domain::Environment;
use shepherd_domain::access::Scope;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{EventId, InstanceSizeId, ServiceId, SystemId, TemplateId, TicketId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::context::Caller;
use shepherd_ports::queue::EventJobHandler as _;
use shepherd_postgres::PgStore;
use shepherd_simulator::{Simulator, SimulatorConfig, Timing};
use shepherd_testkit::postgres::TestDatabase;
use shepherd_usecases::approval::{TicketRef, approve};
use shepherd_usecases::auth::authenticate::{self, RequestMarks};
use shepherd_usecases::auth::login;
use shepherd_usecases::cluster::register;
use shepherd_usecases::execution::steps::{Step, StepHook};
use shepherd_usecases::execution::{Executor, Operations};
use shepherd_usecases::identity::create_user;
use shepherd_usecases::role::bind;
use shepherd_usecases::seed::{self, Seeds};
use shepherd_usecases::vm::{Submitted, request};
use shepherd_usecases::{Platform, UseCaseError, controllers, namespace, service, system};
use tokio::sync::Notify;
use zeroize::Zeroizing;

const PASSWORD: &str = "a long enough passphrase";
/// Connections of the product; a race has a few at a time.
const CONNECTIONS: u32 = 6;
/// Jobs of one event until it must have ended.
const MANY_JOBS: usize = 20;

/// An installation with one cluster in test.
pub struct InProcess {
    pub platform: Arc<Platform>,
    pub operations: Arc<Operations>,
    pub simulator: Simulator,
    /// Asks.
    pub admin: Caller,
    /// Decide.
    pub anna: Caller,
    pub ben: Caller,
    pub system: SystemId,
    pub template: TemplateId,
    pub small: InstanceSizeId,
    pub medium: InstanceSizeId,
    executor: Executor,
    steps: Arc<Steps>,
    pool: PgPool,
    _database: TestDatabase,
}

impl InProcess {
    /// The installation, with System `shop` and nothing in it.
    pub async fn start() -> Self {
        let database = TestDatabase::create().await;
        let mut options = ConnectOptions::new(database.url().to_owned());
        options.max_connections(CONNECTIONS).sqlx_logging(false);
        let connection = Database::connect(options).await.expect("the database answers");
        let mut wired = bootstrap::wire(&configuration(), PgStore::new(connection))
            .await
            .expect("the product is wired");
        let steps = Arc::new(Steps::default());
        let platform = Arc::get_mut(&mut wired.platform).expect("nobody else has the platform yet");
        platform.step_hook = steps.clone();
        let mut settings = (*platform.settings()).clone();
        settings.execution.poll_interval = Duration::from_millis(10);
        platform.live.replace(settings);
        let platform = wired.platform;
        seed::execute(&platform, seeds(), Zeroizing::new(PASSWORD.to_owned()))
            .await
            .expect("seeds");
        let simulator = Simulator::start(SimulatorConfig {
            timing: Timing::instant(),
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let admin = caller(&platform, "admin").await;
        let anna = approver(&platform, &admin, "anna").await;
        let ben = approver(&platform, &admin, "ben").await;
        add_cluster(&platform, &admin, &simulator).await;
        let shop = system::create::CreateSystem {
            name: "shop".to_owned(),
            description: None,
            documentation: None,
        };
        let shop = system::create::execute(&platform, &admin, shop, None)
            .await
            .expect("a system");
        let (template, small, medium) = catalogue(&platform).await;
        Self {
            executor: Executor::new(Arc::clone(&platform), Arc::clone(&wired.operations)),
            operations: wired.operations,
            simulator,
            // Rights are resolved per request.
            admin: caller(&platform, "admin").await,
            anna,
            ben,
            system: shop.outcome.id,
            template,
            small,
            medium,
            steps,
            pool: database.connect().await.get_postgres_connection_pool().clone(),
            _database: database,
            platform,
        }
    }

    /// A namespace in test and a Service, both with this name.
    pub async fn place(&self, name: &str) -> ServiceId {
        let wanted = namespace::create::CreateNamespace {
            name: name.to_owned(),
            environment: Environment::Test,
            description: None,
        };
        namespace::create::execute(&self.platform, &self.admin, wanted, None)
            .await
            .expect("a namespace");
        let wanted = service::create::CreateService {
            system: self.system,
            name: name.to_owned(),
            description: None,
            documentation: None,
        };
        let made = service::create::execute(&self.platform, &self.admin, wanted, None).await;
        made.expect("a service").outcome.id
    }

    /// The administrator asks for a small machine.
    pub async fn request_vm(&self, service: ServiceId, namespace: &str) -> Result<Submitted, UseCaseError> {
        let wanted = request::RequestVm {
            service,
            namespace: namespace.to_owned(),
            template: self.template,
            size: self.small,
            disk_gb: None,
            reason: "a test".to_owned(),
        };
        let answer = request::execute(&self.platform, &self.operations, &self.admin, wanted, None).await;
        answer.map(|answer| answer.outcome)
    }

    /// Anna approves.
    pub async fn approve(&self, ticket: TicketId) -> Result<(), UseCaseError> {
        let choice = approve::Choice::default();
        approve::execute(
            &self.platform,
            &self.operations,
            &self.anna,
            &TicketRef::Id(ticket),
            &choice,
        )
        .await
    }

    /// Runs the job of an event until its ticket has ended.
    pub async fn finish(&self, asked: &Submitted) {
        for _ in 0..MANY_JOBS {
            self.run(asked.event_id).await;
            let status = self
                .text(&format!(
                    "SELECT status FROM approval_tickets WHERE id = '{}'",
                    asked.ticket_id
                ))
                .await;
            if ["COMPLETED", "FAILED", "REJECTED", "CANCELLED"].contains(&status.as_str()) {
                return;
            }
        }
        panic!("the ticket of {} never ends", asked.event_id);
    }

    /// The same, and which steps were reached on the way.
    pub async fn finish_watched(&self, asked: &Submitted) -> Vec<Step> {
        self.steps.seen.lock().expect("no poison").clear();
        self.finish(asked).await;
        self.steps.seen.lock().expect("no poison").clone()
    }

    /// Runs the job of an event and ends it at a step, as the death of its process would: nothing that follows the
    /// step happens, and nobody hears of it.
    pub async fn die_at(&self, event: EventId, step: Step) {
        *self.steps.halt_at.lock().expect("no poison") = Some(step);
        for _ in 0..MANY_JOBS {
            tokio::select! {
                () = self.steps.halted.notified() => return,
                () = self.run(event) => {}
            }
        }
        panic!("the job never gets to {step}");
    }

    async fn run(&self, event: EventId) {
        self.executor.run(event).await.expect("the outcome is recorded");
    }

    /// The rows of a query, as objects.
    pub async fn rows(&self, query: &str) -> Vec<Value> {
        let rows = self
            .texts(&format!("SELECT to_jsonb(found)::text FROM ({query}) AS found"))
            .await;
        rows.iter()
            .map(|row| serde_json::from_str(row).expect("a row is JSON"))
            .collect()
    }

    /// The rows of a query for one text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let rows: Result<Vec<String>, sqlx::Error> = sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(&self.pool)
            .await;
        rows.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The only row of a query for one text.
    pub async fn text(&self, query: &str) -> String {
        self.texts(query)
            .await
            .pop()
            .unwrap_or_else(|| panic!("no row: {query}"))
    }

    /// Changes rows behind the product's back.
    pub async fn change(&self, statement: &str) {
        let changed = sqlx::query(AssertSqlSafe(statement.to_owned()))
            .execute(&self.pool)
            .await;
        changed.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// How many rows there are.
    pub async fn count(&self, from: &str) -> usize {
        let found = self.text(&format!("SELECT count(*)::text FROM {from}")).await;
        found.parse().expect("a number")
    }
}

/// Notes every step, and stops at one.
#[derive(Default)]
struct Steps {
    seen: Mutex<Vec<Step>>,
    halt_at: Mutex<Option<Step>>,
    halted: Notify,
}

#[async_trait::async_trait]
impl StepHook for Steps {
    async fn reached(&self, step: Step) {
        self.seen.lock().expect("no poison").push(step);
        let halts = {
            let mut halt_at = self.halt_at.lock().expect("no poison");
            *halt_at == Some(step) && halt_at.take().is_some()
        };
        if halts {
            self.halted.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

fn configuration() -> Config {
    let mut config = Config::default();
    config.security.outbound_allowlist = vec!["127.0.0.1/32".parse().expect("a network")];
    config.k8s.qps = 10_000;
    config.k8s.burst = 10_000;
    config.features.snapshots = true;
    config.features.clones = true;
    config.features.migrations = true;
    config
}

async fn add_cluster(platform: &Platform, admin: &Caller, simulator: &Simulator) {
    let command = register::RegisterCluster {
        name: "test-1".to_owned(),
        display_name: None,
        kubeconfig: Zeroizing::new(simulator.kubeconfig()),
        environment: Environment::Test,
        scheduling_weight: 100,
        allow_insecure_tls: false,
    };
    register::execute(platform, admin, command, None)
        .await
        .expect("a cluster");
    controllers::health::round(platform).await.expect("a health pass");
}

async fn caller(platform: &Platform, username: &str) -> Caller {
    let command = login::Login {
        username: username.to_owned(),
        password: Zeroizing::new(PASSWORD.to_owned()),
    };
    let session = login::execute(platform, command, &RequestMarks::default())
        .await
        .expect("a session");
    authenticate::execute(platform, Some(&session.token), &RequestMarks::default())
        .await
        .expect("a caller")
}

async fn approver(platform: &Platform, admin: &Caller, username: &str) -> Caller {
    let user = create_user::CreateUser {
        username: username.to_owned(),
        password: Zeroizing::new(PASSWORD.to_owned()),
        email: None,
        display_name: None,
        enabled: true,
        force_password_change: false,
    };
    let user = create_user::execute(platform, admin, user, None)
        .await
        .expect("a user")
        .outcome;
    let binding = bind::BindRole {
        user,
        role: "role-approver".to_owned(),
        scope: Scope::Global,
        environments: EnvironmentSet::ALL,
        expires_at: None,
    };
    bind::execute(platform, admin, binding, None).await.expect("a binding");
    caller(platform, username).await
}

fn seeds() -> Seeds {
    let read = |name: &str| {
        let path = format!("{}/../../seed/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("a seed file")
    };
    Seeds {
        roles: serde_saphyr::from_str(&read("roles.yaml")).expect("roles"),
        templates: serde_saphyr::from_str(&read("templates.yaml")).expect("templates"),
        sizes: serde_saphyr::from_str(&read("instance_sizes.yaml")).expect("sizes"),
    }
}

async fn catalogue(platform: &Platform) -> (TemplateId, InstanceSizeId, InstanceSizeId) {
    let templates = platform
        .read
        .list_templates(&Default::default(), PageRequest::default())
        .await
        .expect("templates");
    let ubuntu = templates
        .items
        .iter()
        .find(|template| template.name == "ubuntu-24-04")
        .expect("the template is seeded");
    let sizes = platform.read.list_sizes(true).await.expect("sizes");
    let size = |name: &str| {
        let found = sizes.iter().find(|size| size.size.name == name);
        found.expect("the size is seeded").size.id
    };
    (ubuntu.id, size("small"), size("medium"))
}
