//! What handlers take: a typed proof of permission, and the checked body.

use std::marker::PhantomData;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, IF_MATCH};
use actix_web::{FromRequest, HttpMessage, HttpRequest, web};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shepherd_domain::access::Permission;
use shepherd_domain::ids::UserId;
use shepherd_domain::page::PageRequest;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;
use shepherd_usecases::auth::authenticate::{self, RequestMarks};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::error::ApiError;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Most characters of an idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 128;

/// What an operation asks of its caller before anything else is looked at.
pub trait Requirement: 'static {
    /// Any of these, held anywhere; none means any valid session.
    const ANY_OF: &'static [Permission];
    /// Whether a caller who must change the password may do it.
    const DURING_PASSWORD_CHANGE: bool = false;
}

/// Declares requirements as types.
macro_rules! requirements {
    ($($(#[$doc:meta])* $name:ident = [$($permission:ident),*]),+ $(,)?) => {$(
        $(#[$doc])*
        pub struct $name;

        impl $crate::http::extract::Requirement for $name {
            const ANY_OF: &'static [shepherd_domain::access::Permission] =
                &[$(shepherd_domain::access::Permission::$permission),*];
        }
    )+};
}

pub(super) use requirements;

/// Any valid session.
pub struct AnySession;

impl Requirement for AnySession {
    const ANY_OF: &'static [Permission] = &[];
}

/// Any valid session, also one whose user must change the password first.
pub struct OwnSession;

impl Requirement for OwnSession {
    const ANY_OF: &'static [Permission] = &[];
    const DURING_PASSWORD_CHANGE: bool = true;
}

/// Proof that the caller is authenticated and holds what the operation requires somewhere, together with the body,
/// which is read only after that.
pub struct Authorized<R, B = NoBody> {
    /// Who asks.
    pub caller: Caller,
    /// The checked body.
    pub body: B,
    idempotency_key: Option<String>,
    method: &'static str,
    path: String,
    body_hash: String,
    proof: PhantomData<R>,
}

impl<R, B> Authorized<R, B> {
    /// The request under its idempotency key, when it has one.
    pub fn idempotent(&self, api: &Api) -> Option<IdempotentRequest> {
        let key = self.idempotency_key.clone()?;
        let identity = format!("{} {} {}", self.method, self.path, self.body_hash);
        Some(IdempotentRequest {
            user: self.caller.subject.user(),
            key,
            method: self.method,
            path: self.path.clone(),
            // Keyed: a body can hold a password, which must not be found by trying.
            request_hash: api.platform.digests.keyed_hex(&identity),
        })
    }
}

/// A body that a request can have.
pub trait RequestBody: Sized {
    /// Reads it; answers it with the canonical bytes it came from.
    fn read(
        api: &Api,
        request: &HttpRequest,
        payload: Payload,
    ) -> impl Future<Output = Result<(Self, Vec<u8>), Problem>>;
}

/// No body is looked at.
pub struct NoBody;

impl RequestBody for NoBody {
    async fn read(_api: &Api, _request: &HttpRequest, _payload: Payload) -> Result<(Self, Vec<u8>), Problem> {
        Ok((Self, Vec::new()))
    }
}

/// A JSON body that follows its schema in the document.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + ToSchema> RequestBody for Json<T> {
    async fn read(api: &Api, request: &HttpRequest, payload: Payload) -> Result<(Self, Vec<u8>), Problem> {
        json_body(api, request, payload, api.config.max_body_bytes)
            .await
            .map(|(body, bytes)| (Self(body), bytes))
    }
}

/// A JSON body that may be four times as long: kubeconfigs.
pub struct LargeJson<T>(pub T);

impl<T: DeserializeOwned + ToSchema> RequestBody for LargeJson<T> {
    async fn read(api: &Api, request: &HttpRequest, payload: Payload) -> Result<(Self, Vec<u8>), Problem> {
        json_body(api, request, payload, api.config.max_body_bytes.saturating_mul(4))
            .await
            .map(|(body, bytes)| (Self(body), bytes))
    }
}

/// A JSON body that may be absent altogether.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + ToSchema + Default> RequestBody for OptionalJson<T> {
    async fn read(api: &Api, request: &HttpRequest, payload: Payload) -> Result<(Self, Vec<u8>), Problem> {
        let bytes = collect(request, payload, api.config.max_body_bytes, api.config.read_timeout).await?;
        if bytes.is_empty() {
            return Ok((Self(T::default()), Vec::new()));
        }
        require_json(request)?;
        parse(api, &bytes).map(|(body, bytes)| (Self(body), bytes))
    }
}

async fn json_body<T: DeserializeOwned + ToSchema>(
    api: &Api,
    request: &HttpRequest,
    payload: Payload,
    max: usize,
) -> Result<(T, Vec<u8>), Problem> {
    require_json(request)?;
    let bytes = collect(request, payload, max, api.config.read_timeout).await?;
    parse(api, &bytes)
}

/// Reads a body of an operation that has no session yet.
pub(super) async fn public_body<T: DeserializeOwned + ToSchema>(
    api: &Api,
    request: &HttpRequest,
    payload: web::Payload,
) -> Result<T, Problem> {
    api.limits.count_address(marks(request).ip)?;
    let (body, _) = json_body(api, request, payload.into_inner(), api.config.max_body_bytes).await?;
    api.limits.begin_write(request).await?;
    Ok(body)
}

/// Reads a body whose bytes are signed, before anything that it says is looked at.
pub(super) async fn signed_body(
    api: &Api,
    request: &HttpRequest,
    payload: web::Payload,
    max: usize,
) -> Result<Vec<u8>, Problem> {
    api.limits.count_address(marks(request).ip)?;
    require_json(request)?;
    let bytes = collect(request, payload.into_inner(), max, api.config.read_timeout).await?;
    api.limits.begin_write(request).await?;
    Ok(bytes)
}

/// What these bytes say.
pub(super) fn checked_body<T: DeserializeOwned + ToSchema>(api: &Api, bytes: &[u8]) -> Result<T, Problem> {
    parse(api, bytes).map(|(body, _)| body)
}

fn require_json(request: &HttpRequest) -> Result<(), Problem> {
    let media = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Problem::new(ErrorCode::UnsupportedMediaType))
    }
}

async fn collect(
    request: &HttpRequest,
    mut payload: Payload,
    max: usize,
    within: Duration,
) -> Result<Vec<u8>, Problem> {
    let too_large = || Problem::new(ErrorCode::PayloadTooLarge).with("max_bytes", max);
    let announced = request
        .headers()
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let read = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| invalid("the body broke off"))?;
            if bytes.len() + chunk.len() > max {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    tokio::time::timeout(within, read)
        .await
        .unwrap_or_else(|_| Err(invalid("the body took too long")))
}

fn parse<T: DeserializeOwned + ToSchema>(api: &Api, bytes: &[u8]) -> Result<(T, Vec<u8>), Problem> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| {
        Problem::new(ErrorCode::InvalidRequest)
            .with("reason", "malformed JSON")
            .with("line", error.line())
            .with("column", error.column())
    })?;
    if holds_nul(&value) {
        return Err(invalid("no text may hold U+0000"));
    }
    api.validators.check(&T::name(), &value)?;
    let canonical = serde_json::to_vec(&value).unwrap_or_default();
    let body = serde_json::from_value(value).map_err(|_| invalid("the body does not follow its schema"))?;
    Ok((body, canonical))
}

/// PostgreSQL has no text with U+0000 in it, and nobody types one.
pub(super) fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(holds_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || holds_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn invalid(reason: &str) -> Problem {
    Problem::new(ErrorCode::InvalidRequest).with("reason", reason)
}

impl<R: Requirement, B: RequestBody + 'static> FromRequest for Authorized<R, B> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let request = request.clone();
        let payload = payload.take();
        Box::pin(async move { Self::extract(request, payload).await })
    }
}

impl<R: Requirement, B: RequestBody> Authorized<R, B> {
    /// In the order of errors.md §3: authentication, password-change gate, role permission, body.
    async fn extract(request: HttpRequest, payload: Payload) -> Result<Self, ApiError> {
        let api = request
            .app_data::<web::Data<Api>>()
            .cloned()
            .ok_or_else(|| Problem::new(ErrorCode::InternalError))?;
        let caller = authenticate(&api, &request).await?;
        if caller.force_password_change && !R::DURING_PASSWORD_CHANGE {
            return Err(Problem::new(ErrorCode::PasswordChangeRequired).into());
        }
        if !R::ANY_OF.is_empty()
            && !R::ANY_OF
                .iter()
                .any(|permission| caller.subject.holds_anywhere(*permission))
        {
            caller.require(R::ANY_OF[0])?;
        }
        if request.path().contains("%00") {
            return Err(invalid("no text may hold U+0000").into());
        }
        let idempotency_key = idempotency_key(&request)?;
        let (body, bytes) = B::read(&api, &request, payload).await?;
        api.limits.begin_write(&request).await?;
        let body_hash = if idempotency_key.is_some() {
            api.platform.digests.sha256_hex(&bytes)
        } else {
            String::new()
        };
        let method = match request.method().as_str() {
            "PUT" => "PUT",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "GET" => "GET",
            _ => "POST",
        };
        Ok(Self {
            caller,
            body,
            idempotency_key,
            method,
            path: request.path().to_owned(),
            body_hash,
            proof: PhantomData,
        })
    }
}

/// Who asks; the request is counted for the user, or for the network of somebody who is none.
async fn authenticate(api: &Api, request: &HttpRequest) -> Result<Caller, ApiError> {
    match identify(api, request).await {
        Ok(caller) => {
            tracing::Span::current().record("user_id", tracing::field::display(caller.subject.user()));
            api.limits.count_user(caller.subject.user())?;
            Ok(caller)
        }
        Err(refusal) => {
            api.limits.count_address(marks(request).ip)?;
            Err(refusal)
        }
    }
}

async fn identify(api: &Api, request: &HttpRequest) -> Result<Caller, ApiError> {
    let mut headers = request.headers().get_all(AUTHORIZATION);
    let header = headers.next().and_then(|value| value.to_str().ok());
    if headers.next().is_some() {
        // Whoever stands in front of us may have looked at the other one.
        return Err(Problem::new(ErrorCode::Unauthorized).with("reason", "invalid").into());
    }
    let token = header.and_then(|header| {
        let (scheme, token) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    Ok(authenticate::execute(&api.platform, token, &marks(request)).await?)
}

/// Who a request says it comes from, for operations that are authenticated by something else; `None` when it does not
/// say.
///
/// # Errors
/// UNAUTHORIZED when it says so without proof.
pub(super) async fn stated_user(api: &Api, request: &HttpRequest) -> Result<Option<UserId>, ApiError> {
    if !request.headers().contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    Ok(Some(authenticate(api, request).await?.subject.user()))
}

/// Where the request came from.
pub(super) fn marks(request: &HttpRequest) -> RequestMarks {
    request.extensions().get::<RequestMarks>().cloned().unwrap_or_default()
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Problem> {
    let Some(value) = request.headers().get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .map_err(|_| invalid("Idempotency-Key holds characters that are not allowed"))?;
    if key.is_empty() || key.chars().count() > MAX_IDEMPOTENCY_KEY {
        return Err(invalid("Idempotency-Key has 1 to 128 characters"));
    }
    Ok(Some(key.to_owned()))
}

/// The version a change expects, from `If-Match`.
pub struct IfMatch(pub Option<i64>);

impl FromRequest for IfMatch {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        const NO_VERSION: i64 = -1;
        let mut given = request
            .headers()
            .get_all(IF_MATCH)
            .map(|value| value.to_str().map(str::trim));
        // What is no version of ours matches no version of ours, and neither does what says several things.
        let expected = match (given.next(), given.next()) {
            (None, _) | (Some(Ok("*")), None) => None,
            (Some(Ok(tag)), None) => {
                let version = tag.trim_start_matches("W/").trim_matches('"').parse();
                Some(version.unwrap_or(NO_VERSION))
            }
            (Some(_), _) => Some(NO_VERSION),
        };
        std::future::ready(Ok(Self(expected)))
    }
}

/// The query string, read by the handler after everything that comes before it.
pub struct Query<T> {
    text: String,
    parameters: PhantomData<T>,
}

impl<T: DeserializeOwned + IntoParams> Query<T> {
    /// The parameters; unknown keys are ignored.
    ///
    /// # Errors
    /// INVALID_REQUEST.
    pub fn read(&self) -> Result<T, Problem> {
        if self.text.contains("%00") {
            return Err(invalid("no text may hold U+0000"));
        }
        let query = web::Query::<T>::from_query(&self.text);
        query
            .map(web::Query::into_inner)
            .map_err(|error| invalid(&error.to_string()))
    }
}

impl<T: 'static> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = std::future::Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self {
            text: request.query_string().to_owned(),
            parameters: PhantomData,
        }))
    }
}

/// An id in a path.
///
/// # Errors
/// INVALID_REQUEST{field} when it is not one.
pub fn path_id<T: FromStr>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::new(ErrorCode::InvalidRequest)
            .with("field", name)
            .with("reason", "not an id")
    })
}

/// A value of a closed set in a query.
///
/// # Errors
/// VALIDATION_FAILED with UNKNOWN_VALUE.
pub fn query_value<T: FromStr>(name: &str, text: Option<&str>) -> Result<Option<T>, Problem> {
    text.map(|text| {
        text.parse()
            .map_err(|_| Problem::invalid_field(name, FieldCode::UnknownValue))
    })
    .transpose()
}

/// `page` and `per_page` of a query.
///
/// # Errors
/// VALIDATION_FAILED with OUT_OF_RANGE.
pub fn page(page: Option<u32>, per_page: Option<u32>) -> Result<PageRequest, Problem> {
    let (page, per_page) = (page.unwrap_or(1), per_page.unwrap_or(PageRequest::DEFAULT_PER_PAGE));
    PageRequest::new(page, per_page).ok_or_else(|| {
        let mut errors = Vec::new();
        if !(1..=PageRequest::MAX_PAGE).contains(&page) {
            errors.push(
                FieldError::new("page", FieldCode::OutOfRange)
                    .with("min", 1)
                    .with("max", PageRequest::MAX_PAGE),
            );
        }
        if !(1..=PageRequest::MAX_PER_PAGE).contains(&per_page) {
            errors.push(
                FieldError::new("per_page", FieldCode::OutOfRange)
                    .with("min", 1)
                    .with("max", PageRequest::MAX_PER_PAGE),
            );
        }
        Problem::invalid(errors)
    })
}

/// Distinguishes an absent field from one that is null: absent leaves, null clears.
pub fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de>,
{
    serde::Deserialize::deserialize(deserializer).map(Some)
}
