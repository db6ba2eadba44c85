//! Jobs that were given up.

use actix_web::{HttpResponse, delete, get, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::event::EventType;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::dead_letters::{DeadLetter as Record, JobId};
use shepherd_usecases::dead_letter::{discard, listing, retry};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use super::vms::{Accepted, accepted};
use crate::http::Api;
use crate::http::extract::{Authorized, Query, page, query_value, requirements};
use crate::http::respond::{Answer, Pagination};

requirements! {
    /// `job:manage`
    Manage = [JobManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(post_retry).service(discard_job);
}

/// A job that nothing tries again by itself.
#[derive(Serialize, ToSchema)]
struct DeadLetter {
    job_id: i64,
    /// The work event, also the id of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    event_type: Option<EventType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_id: Option<Uuid>,
    /// How often the work was tried; of a ticket that is stuck, how often the queue tried.
    attempts: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    finalized_at: DateTime<Utc>,
}

impl From<Record> for DeadLetter {
    fn from(record: Record) -> Self {
        Self {
            job_id: record.job_id.get(),
            event_id: record.event_id.map(Into::into),
            event_type: record.event_type,
            ticket_id: record.ticket_id.map(Into::into),
            attempts: record.attempts,
            last_error: record.last_error,
            finalized_at: record.finalized_at,
        }
    }
}

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
struct DeadLetterList {
    items: Vec<DeadLetter>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    /// VM_CREATION_REQUESTED, ...
    event_type: Option<String>,
}

/// List dead letters
///
/// The latest first. Tickets that are stuck because nothing could be recorded about their job are among them.
#[utoipa::path(tag = "dead-letters", operation_id = "list_dead_letters", params(ListQuery), responses((status = 200, body = DeadLetterList)))]
#[get("/admin/dead-letters")]
async fn list(api: web::Data<Api>, auth: Authorized<Manage>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let event_type = query_value("event_type", query.event_type.as_deref())?;
    let request = page(query.page, query.per_page)?;
    let found = listing::execute(&api.platform, &auth.caller, event_type, request).await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(DeadLetter::from).collect();
    Ok(HttpResponse::Ok().json(DeadLetterList { items, pagination }))
}

/// Retry a dead letter
///
/// What was approved is carried out again; the decision stands. A ticket can be retried three times.
#[utoipa::path(tag = "dead-letters", operation_id = "retry_dead_letter", params(("job_id" = i64, Path)), responses((status = 202, body = Accepted)))]
#[post("/admin/dead-letters/{job_id}/retry")]
async fn post_retry(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id = job_id(&id)?;
    let request = auth.idempotent(&api);
    let answer = retry::execute(&api.platform, &auth.caller, id, request.as_ref()).await?;
    Ok(accepted(answer.outcome, answer.replayed))
}

/// Drop a dead letter
///
/// A ticket that was still under way fails with it.
#[utoipa::path(tag = "dead-letters", operation_id = "discard_dead_letter", params(("job_id" = i64, Path)), responses((status = 204)))]
#[delete("/admin/dead-letters/{job_id}")]
async fn discard_job(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let id = job_id(&id)?;
    discard::execute(&api.platform, &api.operations, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The numbers are the queue's own: what is no number is the number of no job.
fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse()
        .map_err(|_| Problem::not_found(ErrorCode::JobNotFound, text))
}
