//! The Kubernetes HTTP API: one handler takes every request through faults, authentication, routing and
//! authorisation to the function for its verb.
//!
//! - [`route`]: paths; [`options`]: query strings and bodies of options
//! - [`discovery`], [`read`], [`watch`]: asking
//! - [`write`], [`alter`], [`delete`], [`power`]: changing
//! - [`stream`] has the consoles
//! - [`reply`]: answers as HTTP

pub(crate) mod alter;
pub(crate) mod delete;
pub(crate) mod discovery;
pub(crate) mod options;
pub(crate) mod power;
pub(crate) mod read;
pub(crate) mod reply;
pub(crate) mod route;
pub(crate) mod stream;
pub(crate) mod watch;
pub(crate) mod write;

use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse, web};
use serde_json::Value;

use crate::access::{Attempt, User};
use crate::cluster::Cluster;
use crate::credentials::Credentials;
use crate::faults::{Faults, Verdict, control};
use crate::host;
use crate::inspect::RecordedRequest;
use crate::status::ApiError;
use options::Params;
use reply::Reply;
use route::{Route, Target};
use stream::Upgrade;

/// What every request handler needs.
#[derive(Debug)]
pub(crate) struct ApiState {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Who may do what.
    pub credentials: Credentials,
    /// What goes wrong on purpose.
    pub faults: Faults,
}

/// The parts of a request the API looks at.
#[derive(Debug)]
pub(crate) struct Call {
    /// HTTP method.
    pub method: Method,
    /// Query parameters.
    pub params: Params,
    /// `Content-Type` without parameters.
    pub content_type: String,
    /// `Accept`.
    pub accept: String,
    /// Field manager of a write that names none: the client's name from `User-Agent`.
    pub agent: String,
    /// The body; empty for an upgrade.
    pub body: web::Bytes,
    /// The handshake of a client that wants a WebSocket.
    pub upgrade: Option<Upgrade>,
}

/// Answers one request.
pub(crate) async fn handle(request: HttpRequest, payload: web::Payload, state: web::Data<ApiState>) -> HttpResponse {
    let mut payload = payload.into_inner();
    let upgrade = Upgrade::of(&request);
    // What follows a handshake belongs to the stream; waiting for its end would be waiting for ever.
    let body = if upgrade.is_some() {
        web::Bytes::new()
    } else {
        match web::Bytes::from_request(&request, &mut payload).await {
            Ok(body) => body,
            Err(error) => return error.error_response(),
        }
    };
    let text = |name: header::HeaderName| {
        request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let path = request.path().to_owned();
    let user_agent = text(header::USER_AGENT);
    let mut call = Call {
        method: request.method().clone(),
        params: Params::parse(request.query_string()),
        content_type: text(header::CONTENT_TYPE)
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned(),
        accept: text(header::ACCEPT),
        agent: user_agent.split(['/', ' ']).next().unwrap_or_default().to_owned(),
        body,
        upgrade,
    };
    let is_control = path == route::CONTROL_PATH;
    let verdict = if is_control {
        Verdict::Pass
    } else {
        state.faults.judge(call.method.as_str(), &path).await
    };
    if let Verdict::Stream(fault) = verdict
        && let Some(upgrade) = &mut call.upgrade
    {
        upgrade.fault = Some(fault);
    }
    let breaks_off = matches!(verdict, Verdict::Truncate);
    let token = text(header::AUTHORIZATION);
    let mut mutation = None;
    let reply = match verdict {
        Verdict::Drop => Reply::Drop,
        Verdict::Refuse(error) => Reply::Error(error),
        Verdict::Pass | Verdict::Truncate | Verdict::Stream(_) => {
            answer(&state, &call, &path, &token, &mut mutation).unwrap_or_else(Reply::Error)
        }
    };
    let reply = if breaks_off { reply.truncated() } else { reply };
    if !is_control {
        let user = state.credentials.authenticate(&token);
        let recorded = RecordedRequest {
            method: call.method.to_string(),
            path,
            query: request.query_string().to_owned(),
            status: reply.code(),
            user_agent,
            user: user.map(|user| user.name().to_owned()).unwrap_or_default(),
            at: host::now(),
        };
        state.cluster.record(recorded, mutation);
    }
    reply.into_response(payload)
}

fn answer(
    state: &ApiState,
    call: &Call,
    path: &str,
    authorization: &str,
    mutation: &mut Option<(String, String)>,
) -> Result<Reply, ApiError> {
    let user = state
        .credentials
        .authenticate(authorization)
        .ok_or_else(ApiError::unauthorized)?;
    let cluster = &state.cluster;
    match route::parse(path, &cluster.registry)? {
        Route::Version => Ok(Reply::ok(discovery::version(&cluster.seed))),
        Route::Health => Ok(Reply::Text("ok")),
        Route::CoreVersions => Ok(discovery::core_versions(&cluster.registry, &call.accept)),
        Route::Groups => Ok(discovery::groups(&cluster.registry, &call.accept)),
        Route::Group(group) => discovery::group(&cluster.registry, &group).map(Reply::ok),
        Route::Resources { group, version } => discovery::resources(&cluster.registry, &group, &version).map(Reply::ok),
        Route::Control => {
            if user != User::Admin {
                return Err(ApiError::new(
                    403,
                    "Forbidden",
                    "the simulator's controls are not for this user",
                ));
            }
            control::handle(&state.faults, call)
        }
        Route::Resource(target) => {
            let verb = verb_of(call, &target)?;
            let dry_run = options::is_dry_run(call)?;
            if !matches!(verb, Verb::Get | Verb::List | Verb::Watch) && !dry_run {
                *mutation = Some((verb.name().to_owned(), target.def.plural.to_owned()));
            }
            authorize(state, &user, verb.name(), &target, "")?;
            dispatch(state, call, verb, &target)
        }
        Route::Power(action) => {
            if call.method != Method::PUT {
                return Err(ApiError::method_not_allowed());
            }
            if !options::is_dry_run(call)? {
                *mutation = Some((action.verb.name().to_owned(), action.target.def.plural.to_owned()));
            }
            authorize(state, &user, "update", &action.target, action.verb.name())?;
            power::run(cluster, call, &action)
        }
        Route::Console(console) => {
            if call.method != Method::GET {
                return Err(ApiError::method_not_allowed());
            }
            authorize(state, &user, "get", &console.target, console.kind.name())?;
            stream::open(cluster, call, console)
        }
    }
}

/// The Kubernetes verb of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }
}

fn verb_of(call: &Call, target: &Target) -> Result<Verb, ApiError> {
    let named = target.name.is_some();
    // A namespaced resource without a namespace in the path can only be looked at.
    let writable = named || !target.def.namespaced || target.namespace.is_some();
    match call.method.as_str() {
        "GET" if named => Ok(Verb::Get),
        "GET" if call.params.flag("watch") => Ok(Verb::Watch),
        "GET" => Ok(Verb::List),
        "POST" if !named && writable => Ok(Verb::Create),
        "PUT" if named => Ok(Verb::Update),
        "PATCH" if named => Ok(Verb::Patch),
        "DELETE" if named && !target.status => Ok(Verb::Delete),
        "DELETE" if !named && writable => Ok(Verb::DeleteCollection),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Asks the user's grants and the refusals switched on; `action` is a subresource other than `status`.
fn authorize(state: &ApiState, user: &User, verb: &str, target: &Target, action: &str) -> Result<(), ApiError> {
    let subresource = if target.status { "status" } else { action };
    // As in the real one, the group of a machine's actions is not the machine's own.
    let group = if action.is_empty() {
        target.def.group
    } else {
        route::POWER_GROUP
    };
    let attempt = Attempt {
        user: user.name(),
        verb,
        group,
        resource: target.def.plural,
        subresource,
        namespace: target.namespace(),
    };
    if user.may(&attempt) && !state.faults.is_refused(&attempt) {
        return Ok(());
    }
    let name = target.name.as_deref().unwrap_or_default();
    Err(ApiError::forbidden(&attempt, name))
}

fn dispatch(state: &ApiState, call: &Call, verb: Verb, target: &Target) -> Result<Reply, ApiError> {
    let cluster = &state.cluster;
    match verb {
        Verb::Get => read::get(cluster, target).map(Reply::ok),
        Verb::List => read::list(cluster, call, target).map(Reply::ok),
        Verb::Watch => watch::open(cluster, call, target),
        Verb::Create => write::create(state, call, target),
        Verb::Update => write::update(state, call, target),
        Verb::Patch => alter::patch(state, call, target),
        Verb::Delete => delete::one(cluster, call, target),
        Verb::DeleteCollection => delete::collection(cluster, call, target),
    }
}

/// The body as a JSON object.
fn json_object(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::bad_request("the body is not a JSON object"))
    }
}
