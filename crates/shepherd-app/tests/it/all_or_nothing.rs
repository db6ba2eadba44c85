//! A transaction that dies after any of its writes leaves nothing.
//!
//! Use cases run in this process on the real adapters. After the n-th write of a command its database session is
//! terminated, as by a crash of the server or the loss of the network; for every n the command must fail and every
//! table must be as it was. One n beyond the last write, the command succeeds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sea_orm::sqlx::{self, Connection as _, Row as _};
use sea_orm::{ConnectOptions, Database};
use shepherd_app::bootstrap::{self, Wired};
use shepherd_app::config::Config;
use shepherd_domain::Environment;
use shepherd_domain::access::Scope;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{InstanceSizeId, ServiceId, TemplateId, VmId};
use shepherd_domain::page::PageRequest;
use shepherd_ports::context::Caller;
use shepherd_ports::vms::VmSort;
use shepherd_postgres::PgStore;
use shepherd_simulator::{Simulator, SimulatorConfig, Timing};
use shepherd_testkit::postgres::TestDatabase;
use shepherd_usecases::approval::{TicketRef, approve, cancel, reject};
use shepherd_usecases::auth::authenticate::{self, RequestMarks};
use shepherd_usecases::auth::login;
use shepherd_usecases::cluster::register;
use shepherd_usecases::confirmation::Confirmation;
use shepherd_usecases::identity::create_user;
use shepherd_usecases::namespace::create as create_namespace;
use shepherd_usecases::role::bind;
use shepherd_usecases::seed::{self, Seeds};
use shepherd_usecases::vm::{request, request_deletion};
use shepherd_usecases::{Platform, UseCaseError, controllers, service, system};
use zeroize::Zeroizing;

const PASSWORD: &str = "a long enough passphrase";
/// More writes than any command makes.
const MANY: i64 = 40;

/// Terminates the session of a command after so many writes; negative never.
static WRITES_LEFT: AtomicI64 = AtomicI64::new(-1);

/// What the commands run on.
struct Bench {
    platform: Arc<Platform>,
    wired: Wired,
    url: String,
    simulator: Simulator,
    _database: TestDatabase,
}

impl Bench {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let url = database.url().to_owned();
        let mut options = ConnectOptions::new(format!("{url}&application_name=victim"));
        options.max_connections(4).sqlx_logging(false);
        let mut connection = Database::connect(options).await.expect("the database answers");
        let address = url.clone();
        connection.set_metric_callback(move |info| {
            if is_write(&info.statement.sql) && WRITES_LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
                terminate_victims(&address);
            }
        });
        let mut config = Config::default();
        config.security.outbound_allowlist = vec!["127.0.0.1/32".parse().expect("a network")];
        let wired = bootstrap::wire(&config, PgStore::new(connection))
            .await
            .expect("the product is wired");
        let simulator = Simulator::start(SimulatorConfig {
            timing: Timing::instant(),
            ..SimulatorConfig::default()
        });
        Self {
            platform: Arc::clone(&wired.platform),
            wired,
            url,
            simulator: simulator.await.expect("the simulator starts"),
            _database: database,
        }
    }

    /// Every row of every table, by table.
    async fn rows(&self) -> BTreeMap<String, i64> {
        let mut connection = sqlx::PgConnection::connect(&self.url)
            .await
            .expect("the database answers");
        let tables = "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables \
                      WHERE schemaname = 'public' OR (schemaname = 'graphile_worker' AND tablename = '_private_jobs')";
        let tables = sqlx::query(tables).fetch_all(&mut connection).await.expect("tables");
        let mut rows = BTreeMap::new();
        for table in tables {
            let name: String = table.get("name");
            let content =
                format!("SELECT coalesce(sum(hashtext(t::text)::bigint), 0)::bigint AS content FROM {name} t");
            let content = sqlx::query(sqlx::AssertSqlSafe(content));
            rows.insert(
                name,
                content
                    .fetch_one(&mut connection)
                    .await
                    .expect("content")
                    .get("content"),
            );
        }
        rows
    }

    /// Runs a command again and again, killed one write later each time, until it survives.
    async fn kill_after_each_write<T, F>(&self, name: &str, least_writes: i64, mut command: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, UseCaseError>>,
    {
        for writes in 1..MANY {
            let before = self.rows().await;
            WRITES_LEFT.store(writes, Ordering::SeqCst);
            let outcome = command().await;
            let unused = WRITES_LEFT.swap(-1, Ordering::SeqCst);
            match outcome {
                Ok(done) => {
                    assert!(
                        unused > 0,
                        "{name} reported success although its session was killed after write {writes}"
                    );
                    assert!(writes > least_writes, "{name} made only {} writes", writes - 1);
                    return done;
                }
                Err(error) => {
                    assert!(
                        matches!(error, UseCaseError::Repository(_)),
                        "{name}, killed after write {writes}: {error:?}"
                    );
                    assert_eq!(
                        self.rows().await,
                        before,
                        "{name}, killed after write {writes}, left something"
                    );
                }
            }
        }
        panic!("{name} never ended");
    }

    async fn caller(&self, username: &str) -> Caller {
        let command = login::Login {
            username: username.to_owned(),
            password: Zeroizing::new(PASSWORD.to_owned()),
        };
        let session = login::execute(&self.platform, command, &RequestMarks::default())
            .await
            .expect("a session");
        authenticate::execute(&self.platform, Some(&session.token), &RequestMarks::default())
            .await
            .expect("a caller")
    }

    async fn person(&self, admin: &Caller, username: &str, role: &str) -> Caller {
        let user = create_user::CreateUser {
            username: username.to_owned(),
            password: Zeroizing::new(PASSWORD.to_owned()),
            email: None,
            display_name: None,
            enabled: true,
            force_password_change: false,
        };
        let user = create_user::execute(&self.platform, admin, user, None)
            .await
            .expect("a user")
            .outcome;
        let binding = bind::BindRole {
            user,
            role: role.to_owned(),
            scope: Scope::Global,
            environments: EnvironmentSet::ALL,
            expires_at: None,
        };
        bind::execute(&self.platform, admin, binding, None)
            .await
            .expect("a binding");
        self.caller(username).await
    }
}

fn is_write(sql: &str) -> bool {
    let head = sql.trim_start().to_ascii_uppercase();
    ["INSERT", "UPDATE", "DELETE", "WITH"]
        .iter()
        .any(|verb| head.starts_with(verb))
        || sql.contains("add_job")
}

/// Ends every session that is inside a transaction. Runs on a thread of its own: the callback is not async.
fn terminate_victims(url: &str) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let mut connection = sqlx::PgConnection::connect(url).await.expect("the database answers");
                let terminate = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                                 WHERE datname = current_database() AND application_name = 'victim' AND xact_start IS NOT NULL";
                sqlx::query(terminate)
                    .fetch_all(&mut connection)
                    .await
                    .expect("sessions are terminated");
            });
        });
    });
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_dies_after_any_write_leaves_nothing() {
    let bench = Bench::start().await;
    let platform = &*bench.platform;
    seed::execute(platform, seeds(), Zeroizing::new(PASSWORD.to_owned()))
        .await
        .expect("seeds");
    let admin = bench.caller("admin").await;
    let requester = bench.person(&admin, "rita", "role-operator").await;
    let approver = bench.person(&admin, "anna", "role-approver").await;

    let kubeconfig = bench.simulator.kubeconfig();
    bench
        .kill_after_each_write("register cluster", 2, || {
            let command = register::RegisterCluster {
                name: "test-1".to_owned(),
                display_name: None,
                kubeconfig: Zeroizing::new(kubeconfig.clone()),
                environment: Environment::Test,
                scheduling_weight: 100,
                allow_insecure_tls: false,
            };
            register::execute(platform, &admin, command, None)
        })
        .await;
    controllers::health::round(platform).await.expect("a health pass");
    bench
        .kill_after_each_write("create namespace", 2, || {
            let command = create_namespace::CreateNamespace {
                name: "dev".to_owned(),
                environment: Environment::Test,
                description: None,
            };
            create_namespace::execute(platform, &admin, command, None)
        })
        .await;
    let system = bench
        .kill_after_each_write("create system", 4, || {
            let command = system::create::CreateSystem {
                name: "shop".to_owned(),
                description: None,
                documentation: None,
            };
            system::create::execute(platform, &requester, command, None)
        })
        .await
        .outcome;
    // Rights are resolved per request.
    let requester = bench.caller("rita").await;
    let service = bench
        .kill_after_each_write("create service", 3, || {
            let command = service::create::CreateService {
                system: system.id,
                name: "web".to_owned(),
                description: None,
                documentation: None,
            };
            service::create::execute(platform, &requester, command, None)
        })
        .await
        .outcome;

    let (template, size) = catalogue(platform).await;
    for decision in ["reject", "cancel", "approve"] {
        let submitted = bench
            .kill_after_each_write("request", 4, || {
                let operations = &bench.wired.operations;
                request::execute(
                    platform,
                    operations,
                    &requester,
                    wanted(service.id, template, size),
                    None,
                )
            })
            .await
            .outcome;
        let ticket = TicketRef::Id(submitted.ticket_id);
        match decision {
            "reject" => {
                bench
                    .kill_after_each_write("reject", 5, || reject::execute(platform, &approver, &ticket, "no room"))
                    .await
            }
            "cancel" => {
                bench
                    .kill_after_each_write("cancel", 5, || cancel::execute(platform, &requester, &ticket, None))
                    .await
            }
            _ => {
                let choice = approve::Choice::default();
                let operations = &bench.wired.operations;
                bench
                    .kill_after_each_write("approve", 8, || {
                        approve::execute(platform, operations, &approver, &ticket, &choice)
                    })
                    .await;
            }
        }
    }
    let vm = the_only_vm(platform, &admin).await;
    fail_creation(&bench.url).await;
    let confirmed = Confirmation {
        confirm: true,
        confirm_name: None,
    };
    bench
        .kill_after_each_write("request deletion", 4, || {
            let operations = &bench.wired.operations;
            request_deletion::execute(platform, operations, &admin, vm, &confirmed, None)
        })
        .await;
}

fn wanted(service: ServiceId, template: TemplateId, size: InstanceSizeId) -> request::RequestVm {
    request::RequestVm {
        service,
        namespace: "dev".to_owned(),
        template,
        size,
        disk_gb: None,
        reason: "a test".to_owned(),
    }
}

async fn catalogue(platform: &Platform) -> (TemplateId, InstanceSizeId) {
    let first = PageRequest::default();
    let templates = platform
        .read
        .list_templates(&Default::default(), first)
        .await
        .expect("templates");
    let sizes = platform.read.list_sizes(true).await.expect("sizes");
    let small = sizes
        .into_iter()
        .find(|size| size.size.capabilities.is_empty())
        .expect("a plain size");
    (templates.items[0].id, small.size.id)
}

async fn the_only_vm(platform: &Platform, admin: &Caller) -> VmId {
    let visibility = admin.subject.visibility(shepherd_domain::access::Permission::VmRead);
    let first = PageRequest::default();
    let found = platform
        .read
        .list_vms(&visibility, &Default::default(), VmSort::Name, false, first)
        .await
        .expect("machines");
    assert_eq!(found.total, 1, "an approval that was killed made a machine");
    found.items[0].id
}

/// No worker runs here: the machine is put where it can be deleted from.
async fn fail_creation(url: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the database answers");
    let failed = sqlx::query("UPDATE vms SET status = 'FAILED'")
        .execute(&mut connection)
        .await;
    failed.expect("the machine is failed");
}
