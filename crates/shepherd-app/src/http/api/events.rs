//! Domain events.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shepherd_domain::access::Permission;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::EventId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::redaction::redact;
use shepherd_ports::context::Caller;
use shepherd_ports::events::{Event as Record, EventAudience, EventFilter};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, Query, page, path_id, query_value};
use crate::http::respond::{Answer, Pagination};

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(get_event);
}

/// How an operation failed.
#[derive(Serialize, ToSchema)]
#[schema(as = Failure)]
pub(super) struct FailureBody {
    code: String,
    #[schema(value_type = Object)]
    params: Value,
}

impl FailureBody {
    pub(super) fn of(code: Option<String>, params: Option<Value>) -> Option<Self> {
        code.map(|code| Self {
            code,
            params: params.unwrap_or_else(|| Value::Object(Map::new())),
        })
    }
}

/// What a caller may see of events.
pub(super) fn audience(caller: &Caller) -> EventAudience {
    EventAudience {
        user: caller.subject.user(),
        vms: caller.subject.visibility(Permission::VmRead),
        systems: caller.subject.visibility(Permission::SystemRead),
        approvals: caller.subject.environments(Permission::ApprovalView, None),
    }
}

/// Something that was asked for, or that happened.
#[derive(Serialize, ToSchema)]
struct Event {
    id: Uuid,
    #[schema(value_type = String)]
    event_type: EventType,
    #[schema(value_type = String)]
    aggregate_type: AggregateType,
    aggregate_id: String,
    /// PENDING, PROCESSING, COMPLETED, FAILED or CANCELLED.
    #[schema(value_type = String)]
    status: EventStatus,
    /// Redacted.
    #[schema(value_type = Object)]
    payload: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<Uuid>,
    created_by: String,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureBody>,
}

impl From<Record> for Event {
    fn from(record: Record) -> Self {
        Self {
            id: record.id.into(),
            event_type: record.event_type,
            aggregate_type: record.aggregate_type,
            aggregate_id: record.aggregate_id,
            status: record.status,
            payload: redact(record.payload),
            causation_id: record.causation_id.map(Into::into),
            created_by: record.created_by.to_string(),
            created_at: record.created_at,
            processed_at: record.processed_at,
            error: FailureBody::of(record.error_code, record.error_params),
        }
    }
}

/// A page of events.
#[derive(Serialize, ToSchema)]
struct EventList {
    items: Vec<Event>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// `me` for own events.
    requested_by: Option<String>,
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    event_type: Option<String>,
    status: Option<String>,
    include_archived: Option<bool>,
}

/// List visible events
#[utoipa::path(tag = "events", operation_id = "list_events", params(ListQuery), responses((status = 200, body = EventList)))]
#[get("/events")]
async fn list(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let requested_by = match query.requested_by.as_deref() {
        None => None,
        Some("me") => Some(auth.caller.context.actor.clone()),
        Some(_) => {
            return Err(
                Problem::invalid_field("requested_by", shepherd_domain::problem::FieldCode::UnknownValue).into(),
            );
        }
    };
    let filter = EventFilter {
        requested_by,
        aggregate_type: query_value("aggregate_type", query.aggregate_type.as_deref())?,
        aggregate_id: query.aggregate_id,
        event_type: query_value("event_type", query.event_type.as_deref())?,
        status: query_value("status", query.status.as_deref())?,
        include_archived: query.include_archived.unwrap_or(false),
    };
    let found = api
        .platform
        .read
        .list_events(&audience(&auth.caller), &filter, page(query.page, query.per_page)?)
        .await?;
    let pagination = Pagination::of(&found);
    Ok(HttpResponse::Ok().json(EventList {
        items: found.items.into_iter().map(Event::from).collect(),
        pagination,
    }))
}

/// Get an event
#[utoipa::path(tag = "events", operation_id = "get_event", params(("event_id" = Uuid, Path)), responses((status = 200, body = Event)))]
#[get("/events/{event_id}")]
async fn get_event(api: web::Data<Api>, auth: Authorized<AnySession>, id: web::Path<String>) -> Answer {
    let id: EventId = path_id("event_id", &id)?;
    let found = api.platform.read.get_event(&audience(&auth.caller), id).await?;
    let record = found.ok_or_else(|| Problem::not_found(ErrorCode::EventNotFound, id))?;
    Ok(HttpResponse::Ok().json(Event::from(record)))
}
