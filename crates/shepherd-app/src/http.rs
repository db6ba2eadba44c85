//! The HTTP server: routes, and what every request goes through.

pub mod api;
mod cors;
pub mod error;
mod extract;
mod fallback;
mod health;
mod limits;
mod marks;
mod measure;
pub mod openapi;
mod respond;
mod security;
mod validation;
pub mod vnc;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, HttpServer, web};
use shepherd_ports::health::StoreHealth;
use shepherd_usecases::Platform;
use shepherd_usecases::execution::Operations;
use socket2::SockRef;
use utoipa_actix_web::AppExt;

use crate::config::{Config, LiveConfig, ServerConfig};
use crate::reload::Follower;
use crate::runtime::{Within, Worker};
use crate::tasks::TaskPool;
use validation::Validators;

/// What handlers reach.
pub struct Api {
    /// The ports and settings.
    pub platform: Arc<Platform>,
    /// The operations tickets can ask for.
    pub operations: Arc<Operations>,
    /// Readiness of the store.
    pub store_health: Arc<dyn StoreHealth>,
    /// Which parts run in this process.
    pub roles: Roles,
    /// Limits and addresses as they were at the start; what changes while the server runs is in `limits` and `origins`.
    pub config: ServerConfig,
    /// All keys, with where they come from.
    pub standing: Arc<LiveConfig>,
    limits: Arc<limits::Limits>,
    origins: Arc<cors::Origins>,
    /// The consoles that this process relays.
    pub consoles: vnc::Consoles,
    validators: Validators,
    routes: fallback::Routes,
    document: web::Bytes,
    tasks: TaskPool,
    looked: health::Looked,
}

/// The parts of the product that one process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Serves the API.
    pub api: bool,
    /// Carries out jobs.
    pub worker: bool,
    /// Takes part in leases: health and watches.
    pub controllers: bool,
}

impl Api {
    /// The state of a server.
    ///
    /// # Errors
    /// When the document cannot be turned into validators; a fault of the build.
    pub fn new(
        platform: Arc<Platform>,
        operations: Arc<Operations>,
        store_health: Arc<dyn StoreHealth>,
        roles: Roles,
        standing: Arc<LiveConfig>,
        tasks: TaskPool,
    ) -> anyhow::Result<Self> {
        let document = openapi::document()?;
        let consoles = vnc::Consoles::new(tasks.clone());
        let config = standing.now().effective.config.server.clone();
        Ok(Self {
            platform,
            operations,
            store_health,
            roles,
            limits: Arc::new(limits::Limits::of(&config)),
            origins: Arc::new(cors::Origins::of(&config)),
            config,
            standing,
            consoles,
            validators: Validators::of(&document)?,
            routes: fallback::Routes::of(&document),
            document: serde_json::to_vec(&document)?.into(),
            tasks,
            looked: health::Looked::default(),
        })
    }

    /// What takes over changes of the configuration while the server runs.
    pub fn follower(&self) -> Follower {
        let (limits, origins) = (Arc::clone(&self.limits), Arc::clone(&self.origins));
        Arc::new(move |config: &Config| {
            limits.follow(&config.server);
            origins.follow(&config.server);
        })
    }
}

/// Binds and starts the server.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(api: Api) -> std::io::Result<Server> {
    let address = (api.config.bind, api.config.port);
    let grace = api.config.answering_time().as_secs().max(1);
    let head_timeout = api.config.read_timeout;
    let write_timeout = api.config.write_timeout;
    let tasks = api.tasks.clone();
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        let cors = cors::layer(Arc::clone(&api.origins));
        let origins = Arc::clone(&api.origins);
        let tasks = tasks.clone();
        let (app, _) = App::new()
            .app_data(api.clone())
            .app_data(web::Data::new(Worker::current()))
            .into_utoipa_app()
            .configure(api::routes)
            .split_for_parts();
        app.service(openapi::docs())
            .default_service(web::to(fallback::not_found))
            // The last layer is the outermost.
            .wrap(cors)
            .wrap(from_fn(move |request, next| {
                cors::credentials(Arc::clone(&origins), request, next)
            }))
            .wrap(from_fn(security::headers))
            .wrap(Compress::default())
            .wrap(from_fn(marks::trace))
            .wrap(from_fn(measure::count))
            .wrap(from_fn(move |request, next| within(tasks.clone(), request, next)))
    });
    let server = server
        .on_connect(move |connection, _| bound_writes(connection, write_timeout))
        .disable_signals()
        .shutdown_timeout(grace)
        .client_request_timeout(head_timeout)
        .keep_alive(Duration::from_secs(75))
        .bind(address)?;
    Ok(server.run())
}

/// Has the system close a connection whose other end takes nothing of an answer for so long. The server itself waits
/// for ever once the system's buffers are full.
fn bound_writes(connection: &dyn Any, timeout: Duration) {
    let Some(stream) = connection.downcast_ref::<TcpStream>() else {
        return;
    };
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(timeout)) {
        tracing::debug!(%error, "an answer to this client may take as long as it likes");
    }
}

/// Lets what a request opens outlive the worker that serves it. Once the process stops, every answer is the last one of
/// its connection: whoever comes again comes to another replica.
async fn within<B: MessageBody>(
    tasks: TaskPool,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<Within<B>>, Error> {
    let runtime = tasks.runtime().clone();
    let mut response = Within::new(runtime.clone(), next.call(request)).await?;
    if tasks.is_stopping() && !response.response().upgrade() {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response.map_body(|_, body| Within::new(runtime, body)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let timeout = Duration::from_secs(7);
        bound_writes(&stream, timeout);
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(timeout));
        bound_writes(&"no connection", timeout);
    }
}
