//! `shepherd serve`.
//!
//! Start: database, migrations, secrets, controllers and worker, and last the listener. Stop: readiness says no, the
//! loops are dropped and the worker claims nothing more; the listener closes a moment later, and requests and jobs in
//! hand get their time; then the pool is closed. Further signals change nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};
use shepherd_ports::leases::HeartbeatKind;
use shepherd_ports::queue::PeriodicJobHandler;
use shepherd_postgres::{QueueWorker, Silence, WorkerOptions, WorkerPulse};
use shepherd_usecases::controllers;
use shepherd_usecases::execution::Executor;
use shepherd_usecases::external_approval;
use shepherd_usecases::schema;
use shepherd_usecases::upkeep::{self, Upkeep};
use shepherd_usecases::{Platform, audit_webhook};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::seed::refuse_pending;
use crate::bootstrap::{self, Wired};
use crate::config::{Config, LiveConfig, Loaded};
use crate::extensions::Extensions;
use crate::http::{self, Api, Roles};
use crate::reload::{Follower, Reloader};
use crate::scrape;
use crate::tasks::TaskPool;
use crate::telemetry::LogLevel;

/// How long connections that the database does not give back are waited for at the end.
const CLOSE: Duration = Duration::from_secs(5);
/// No job takes longer, whatever it is: operations have `k8s.operation_timeout`, other work has limits of minutes.
const LONGEST_JOB: Duration = Duration::from_secs(30 * 60);

/// Options of `serve`.
#[derive(Args)]
pub(super) struct Options {
    /// What this process runs.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Role::Api, Role::Worker, Role::Controllers])]
    roles: Vec<Role>,
}

/// A part of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Serves the API.
    Api,
    /// Carries out jobs.
    Worker,
    /// Takes part in leases: health and watches.
    Controllers,
}

pub(super) async fn run(
    loaded: Loaded,
    instance: &str,
    extensions: &Extensions,
    options: Options,
    log: LogLevel,
) -> anyhow::Result<()> {
    let started = Instant::now();
    let config = loaded.config.clone();
    let standing = Arc::new(LiveConfig::new(loaded));
    let gathered = scrape::gather().context("metrics")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let roles = Roles {
        api: options.roles.contains(&Role::Api),
        worker: options.roles.contains(&Role::Worker),
        controllers: options.roles.contains(&Role::Controllers),
    };
    // The database may be slow, and another replica may be in the middle of a long migration.
    let wired = tokio::select! {
        wired = wire(instance, &config, extensions) => wired?,
        () = stop_requested(&mut terminate, &mut interrupt) => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    let pool = TaskPool::new(Handle::current());
    scrape::start(&config.metrics, gathered, &pool)?;
    show_state(&wired, &pool);
    hear_changes(&wired, &pool);
    if roles.controllers {
        run_controllers(&wired, &pool).await?;
        extensions.supervise(&wired.platform, &pool);
    }
    if roles.worker {
        run_worker(&config, &wired, &pool).await?;
    }
    let (grace, draining) = (config.server.shutdown_timeout, config.server.draining_time());
    let mut followers: Vec<Follower> = vec![
        bootstrap::rules(Arc::clone(&wired.platform)),
        Arc::clone(&wired.adapters),
        Arc::new(move |config: &Config| log.set(&config.log.level)),
    ];
    let api = if roles.api {
        let api = Api::new(
            Arc::clone(&wired.platform),
            Arc::clone(&wired.operations),
            Arc::new(wired.store.clone()),
            roles,
            Arc::clone(&standing),
            pool.clone(),
        )?;
        followers.push(api.follower());
        Some(api)
    } else {
        None
    };
    let reloader = Reloader::new(Arc::clone(&wired.platform), standing, followers);
    // Before anybody hears that this process serves: whoever changes the file then is not before its time.
    reloader.begin().await;
    let server = api.map(|api| start_api(&config, api)).transpose()?;
    follow_file(reloader, &pool);
    tracing::info!(instance = %wired.platform.settings().controllers.instance, ?roles, ready_ms = started.elapsed().as_millis(), "ready");

    let handle = server.as_ref().map(actix_web::dev::Server::handle);
    let ended = async {
        match server {
            Some(server) => server.await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(ended);
    tokio::select! {
        result = &mut ended => result.context("the server ended")?,
        () = stop_requested(&mut terminate, &mut interrupt) => {}
    }
    // Together, so that the worker claims nothing while the last requests are answered.
    let stop_api = async {
        if let Some(handle) = handle {
            tokio::select! {
                () = tokio::time::sleep(draining) => {}
                _ = &mut ended => return,
            }
            // The handle's future needs the server itself to be polled.
            let stop = handle.stop(true);
            tokio::select! {
                () = stop => {}
                _ = &mut ended => {}
            }
        }
    };
    let ((), ended_in_time) = tokio::join!(stop_api, pool.stop(grace));
    if !ended_in_time {
        tracing::warn!("some tasks did not end in time; their jobs go to another replica");
    }
    match tokio::time::timeout(CLOSE, wired.store.close()).await {
        Ok(closed) => closed?,
        Err(_) => tracing::warn!("the database does not let go of its connections; they end with the process"),
    }
    tracing::info!("stopped");
    Ok(())
}

async fn wire(instance: &str, config: &Config, extensions: &Extensions) -> anyhow::Result<Wired> {
    if config.database.auto_migrate {
        let store = bootstrap::connect_for_migrations(config).await?;
        migrations::up(store.connection()).await.context("migrations")?;
        store.close().await?;
    }
    let store = bootstrap::connect(config).await?;
    refuse_pending(&store).await?;
    bootstrap::wire_as(instance, config, store, extensions).await
}

/// Waits until somebody wants the process to end.
async fn stop_requested(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
}

fn start_api(config: &Config, api: Api) -> anyhow::Result<actix_web::dev::Server> {
    let (bind, port) = (config.server.bind, config.server.port);
    http::start(api).with_context(|| format!("{bind}:{port} cannot be bound (server.bind, server.port)"))
}

/// Every process has settings, whatever its roles.
fn follow_file(reloader: Reloader, pool: &TaskPool) {
    let reloader = Arc::new(reloader);
    pool.supervise_loop("configuration", move || {
        let reloader = Arc::clone(&reloader);
        async move { reloader.run().await }
    });
}

/// Every process shows what it sees, whatever its roles.
fn show_state(wired: &Wired, pool: &TaskPool) {
    let platform = Arc::clone(&wired.platform);
    pool.supervise_loop("metrics", move || {
        let platform = Arc::clone(&platform);
        async move { controllers::metrics::run(&platform).await }
    });
}

/// Every process talks to clusters, whatever its roles.
fn hear_changes(wired: &Wired, pool: &TaskPool) {
    let platform = Arc::clone(&wired.platform);
    pool.supervise_loop("changes", move || {
        let platform = Arc::clone(&platform);
        async move { controllers::changes::run(&platform).await }
    });
}

async fn run_controllers(wired: &Wired, pool: &TaskPool) -> anyhow::Result<()> {
    let instance = wired.platform.settings().controllers.instance.clone();
    // As with the worker, the first beat is awaited: readiness asks for it.
    wired
        .platform
        .leases
        .beat(HeartbeatKind::Leader, &instance, controllers::health::LEASE)
        .await?;
    let platform = Arc::clone(&wired.platform);
    pool.supervise_loop("health", move || {
        let platform = Arc::clone(&platform);
        async move { controllers::health::run(&platform).await }
    });
    let platform = Arc::clone(&wired.platform);
    pool.supervise_loop("watch", move || {
        let platform = Arc::clone(&platform);
        async move { controllers::watch::run(&platform).await }
    });
    let platform = Arc::clone(&wired.platform);
    pool.supervise_loop("schema update", move || {
        let platform = Arc::clone(&platform);
        async move { schema::update::run(&platform).await }
    });
    let platform = Arc::clone(&wired.platform);
    pool.supervise_loop("audit push", move || {
        let platform = Arc::clone(&platform);
        async move { audit_webhook::push::run(&platform).await }
    });
    let (platform, operations) = (Arc::clone(&wired.platform), Arc::clone(&wired.operations));
    pool.supervise_loop("external approvals", move || {
        let (platform, operations) = (Arc::clone(&platform), Arc::clone(&operations));
        async move { external_approval::sync::run(&platform, &operations).await }
    });
    Ok(())
}

/// The worker says that it is alive.
async fn beat(platform: &Platform) {
    let instance = &platform.settings().controllers.instance;
    if let Err(error) = platform.leases.beat(HeartbeatKind::Worker, instance, "queue").await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the worker could not say that it is alive"
        );
    }
}

async fn run_worker(config: &Config, wired: &Wired, pool: &TaskPool) -> anyhow::Result<()> {
    let instance = wired.platform.settings().controllers.instance.clone();
    let heartbeat = config.queue.heartbeat;
    let pulse = WorkerPulse::default();
    let silence = Silence {
        // Others recover the jobs of a worker that has been silent for so long.
        idle: config.queue.recovery_threshold + config.queue.poll_interval,
        busy: LONGEST_JOB.max(config.k8s.operation_timeout * 2),
        places: config.queue.max_workers,
    };
    // The first beat is awaited, so that readiness never sees a worker that has not begun to say it is there.
    wired
        .platform
        .leases
        .beat(HeartbeatKind::Worker, &instance, "queue")
        .await?;
    let (platform, felt) = (Arc::clone(&wired.platform), pulse.clone());
    pool.supervise_loop("worker heartbeat", move || {
        let (platform, felt) = (Arc::clone(&platform), felt.clone());
        async move {
            loop {
                if felt.is_felt(silence) {
                    beat(&platform).await;
                } else {
                    tracing::warn!(?silence, "the worker has not looked at the queue");
                }
                tokio::time::sleep(heartbeat).await;
            }
        }
    });
    let options = WorkerOptions {
        instance,
        concurrency: config.queue.max_workers,
        poll_interval: config.queue.poll_interval,
        heartbeat,
        recovery_threshold: config.queue.recovery_threshold,
        // A little less than the whole, so that jobs which do not end in time can still be given back.
        shutdown_grace: config.server.shutdown_timeout * 4 / 5,
        sweep: config.queue.recovery_threshold / 4,
        pulse,
        ..WorkerOptions::default()
    };
    let handler = Arc::new(Executor::new(
        Arc::clone(&wired.platform),
        Arc::clone(&wired.operations),
    ));
    let periodic: Arc<dyn PeriodicJobHandler> = Arc::new(Upkeep::new(Arc::clone(&wired.platform)));
    upkeep::at_start(&wired.platform).await?;
    let store = wired.store.clone();
    pool.supervise("worker", move |shutdown| {
        let periodic = Some(Arc::clone(&periodic));
        QueueWorker::run(store.clone(), handler.clone(), periodic, options.clone(), async move {
            shutdown.cancelled().await
        })
    });
    Ok(())
}
