//! The listener of metrics: `GET /metrics` for whoever reaches it, and nothing else.
//!
//! It stands apart from the API: every process has one, whatever its roles, and it answers while the API has no room.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use shepherd_ports::metrics;
use shepherd_usecases::controllers;
use tokio_util::sync::CancellationToken;

use crate::config::MetricsConfig;
use crate::tasks::TaskPool;

/// The text format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at the same time: a few scrapers and somebody who looks.
const CONNECTIONS: usize = 32;
/// How long a scraper may take to say what it wants.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A gauge that missed several samples is gone.
const GONE_AFTER: Duration = Duration::from_secs(4 * controllers::metrics::INTERVAL.as_secs() + 5);
/// Pause between two looks at what histograms have gathered.
const UPKEEP: Duration = Duration::from_secs(5);

/// Seconds, for what somebody waits for.
const WAITS: [f64; 13] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];
/// Seconds, for work on machines: up to two hours.
const WORKS: [f64; 12] = [
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 7200.0,
];
/// Seconds, for decisions of people: from a minute to two weeks; what policies decide takes no time.
const DECISIONS: [f64; 11] = [
    1.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    14400.0,
    28800.0,
    86400.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
];

/// Begins to gather metrics. What is counted before is lost. A second call answers what the first one began.
///
/// # Errors
/// When the buckets are wrong; a fault of the build.
pub fn gather() -> Result<PrometheusHandle, BuildError> {
    static GATHERING: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut gathering = GATHERING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*gathering {
        return Ok(handle.clone());
    }
    let recorder = builder()?.build_recorder();
    let handle = recorder.handle();
    if ::metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("something else gathers metrics in this process; none are served");
    }
    metrics::describe();
    *gathering = Some(handle.clone());
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let exactly = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets(&WAITS)?
        .set_buckets_for_metric(exactly("vm_operation_duration_seconds"), &WORKS)?
        .set_buckets_for_metric(exactly("queue_job_duration_seconds"), &WORKS)?
        .set_buckets_for_metric(exactly("batch_parent_duration_seconds"), &DECISIONS)?
        .set_buckets_for_metric(exactly("ticket_decision_seconds"), &DECISIONS)
        .map(|builder| builder.idle_timeout(MetricKindMask::GAUGE, Some(GONE_AFTER)))
}

/// Serves what is gathered, until the tasks of the pool end.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(config: &MetricsConfig, gathered: PrometheusHandle, pool: &TaskPool) -> anyhow::Result<()> {
    let MetricsConfig { bind, port } = *config;
    let listener = TcpListener::bind(SocketAddr::new(bind, port))
        .with_context(|| format!("{bind}:{port} cannot be bound (metrics.bind, metrics.port)"))?;
    let address = listener.local_addr().context("the address of metrics")?;
    tracing::info!("metrics are served at http://{address}/metrics");
    let kept = gathered.clone();
    pool.supervise_loop("metrics upkeep", move || keep_up(kept.clone()));
    pool.supervise("metrics listener", move |shutdown| {
        // The listener stays, so that a server that ended can take it up again.
        let listener = listener.try_clone();
        let gathered = gathered.clone();
        async move {
            let served = match listener {
                Ok(listener) => serve(listener, gathered, shutdown).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!(error = &error as &dyn std::error::Error, "metrics are not served");
            }
        }
    });
    Ok(())
}

/// Histograms keep every value until somebody looks at them.
async fn keep_up(gathered: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        gathered.run_upkeep();
    }
}

async fn serve(listener: TcpListener, gathered: PrometheusHandle, shutdown: CancellationToken) -> std::io::Result<()> {
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(gathered.clone()))
            .service(web::resource("/metrics").route(web::get().to(show)))
    });
    let server = server
        .workers(1)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEAD_TIMEOUT)
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => ended,
        () = shutdown.cancelled() => {
            // The handle's future needs the server itself to be polled.
            let stop = handle.stop(false);
            tokio::select! {
                () = stop => Ok(()),
                ended = &mut server => ended,
            }
        }
    }
}

async fn show(gathered: web::Data<PrometheusHandle>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(TEXT)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(gathered.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_twice_gathers_once() {
        let first = gather().expect("buckets that are right");
        let second = gather().expect("the same");
        metrics::login(metrics::LoginResult::Limited);
        let line = "login_total{result=\"limited\"} 1";
        assert!(first.render().contains(line), "{}", first.render());
        assert!(second.render().contains(line));
        assert!(first.render().contains("# HELP login_total "));
    }

    #[test]
    fn buckets_rise() {
        for buckets in [&WAITS[..], &WORKS, &DECISIONS] {
            assert!(buckets.is_sorted_by(|lower, higher| lower < higher), "{buckets:?}");
        }
    }
}
