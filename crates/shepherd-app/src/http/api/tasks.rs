//! Tasks: the user view of work events.

use actix_web::{HttpResponse, get, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::ids::EventId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_domain::ticket::TicketStatus;
use shepherd_ports::events::Task as Record;
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::events::{FailureBody, audience};
use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, Query, page, path_id, query_value};
use crate::http::respond::{Answer, Pagination};

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(get_task);
}

/// What a task is about.
#[derive(Serialize, ToSchema)]
struct TaskResource {
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: AggregateType,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// The user view of a work event.
#[derive(Serialize, ToSchema)]
struct Task {
    /// The id of the event.
    id: Uuid,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    kind: EventType,
    /// PENDING, PROCESSING, COMPLETED, FAILED or CANCELLED.
    #[schema(value_type = String)]
    status: EventStatus,
    attempt: i32,
    max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureBody>,
    resource: TaskResource,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    ticket_status: Option<TicketStatus>,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<DateTime<Utc>>,
}

impl Task {
    fn of(record: Record, max_attempts: u32) -> Self {
        Self {
            id: record.id.into(),
            kind: record.event_type,
            status: record.status,
            attempt: record.attempt,
            max_attempts,
            next_attempt_at: record.next_attempt_at,
            error: FailureBody::of(record.error_code, record.error_params),
            resource: TaskResource {
                kind: record.aggregate_type,
                id: record.aggregate_id,
                name: record.resource_name,
            },
            ticket_id: record.ticket_id.map(Into::into),
            ticket_status: record.ticket_status,
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
        }
    }
}

/// A page of tasks.
#[derive(Serialize, ToSchema)]
struct TaskList {
    items: Vec<Task>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    status: Option<String>,
    /// Event type.
    r#type: Option<String>,
    include_archived: Option<bool>,
}

/// List own tasks
#[utoipa::path(tag = "tasks", operation_id = "list_tasks", params(ListQuery), responses((status = 200, body = TaskList)))]
#[get("/tasks")]
async fn list(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let status = query_value("status", query.status.as_deref())?;
    let kind = query_value("type", query.r#type.as_deref())?;
    let found = api
        .platform
        .read
        .list_tasks(
            auth.caller.subject.user(),
            status,
            kind,
            query.include_archived.unwrap_or(false),
            page(query.page, query.per_page)?,
        )
        .await?;
    let max_attempts = api.platform.settings().execution.max_attempts;
    let pagination = Pagination::of(&found);
    let items = found
        .items
        .into_iter()
        .map(|record| Task::of(record, max_attempts))
        .collect();
    Ok(HttpResponse::Ok().json(TaskList { items, pagination }))
}

/// Get a task
#[utoipa::path(tag = "tasks", operation_id = "get_task", params(("task_id" = Uuid, Path)), responses((status = 200, body = Task)))]
#[get("/tasks/{task_id}")]
async fn get_task(api: web::Data<Api>, auth: Authorized<AnySession>, id: web::Path<String>) -> Answer {
    let id: EventId = path_id("task_id", &id)?;
    let found = api.platform.read.get_task(&audience(&auth.caller), id).await?;
    let record = found.ok_or_else(|| Problem::not_found(ErrorCode::TaskNotFound, id))?;
    Ok(HttpResponse::Ok().json(Task::of(record, api.platform.settings().execution.max_attempts)))
}
