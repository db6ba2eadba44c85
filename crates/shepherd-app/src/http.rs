//! The HTTP server: routes, and what every request goes through.

pub mod api;
mod cors;
pub mod error;
mod extract;
mod fallback;
mod health;
mod limits;
mod marks;
pub mod openapi;
mod respond;
mod security;
mod validation;
pub mod vnc;

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::{App, Error, HttpServer, web};
use shepherd_ports::health::StoreHealth;
use shepherd_usecases::Platform;
use shepherd_usecases::execution::Operations;
use utoipa_actix_web::AppExt;

use crate::config::ServerConfig;
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
    /// Limits and addresses.
    pub config: ServerConfig,
    limits: limits::Limits,
    /// The consoles that this process relays.
    pub consoles: vnc::Consoles,
    validators: Validators,
    routes: fallback::Routes,
    document: web::Bytes,
    tasks: TaskPool,
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
        config: ServerConfig,
        tasks: TaskPool,
    ) -> anyhow::Result<Self> {
        let document = openapi::document()?;
        let consoles = vnc::Consoles::new(tasks.clone(), platform.settings().console.max_sessions);
        Ok(Self {
            platform,
            operations,
            store_health,
            roles,
            limits: limits::Limits::of(&config),
            config,
            consoles,
            validators: Validators::of(&document)?,
            routes: fallback::Routes::of(&document),
            document: serde_json::to_vec(&document)?.into(),
            tasks,
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
    let tasks = api.tasks.clone();
    let api = web::Data::new(api);
    let server = HttpServer::new(move || {
        let cors = cors::layer(&api.config);
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
            .wrap(from_fn(security::headers))
            .wrap(Compress::default())
            .wrap(from_fn(marks::trace))
            .wrap(from_fn(move |request, next| within(tasks.clone(), request, next)))
    });
    let server = server
        .disable_signals()
        .shutdown_timeout(grace)
        .client_request_timeout(head_timeout)
        .keep_alive(Duration::from_secs(75))
        .bind(address)?;
    Ok(server.run())
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
