//! One's own notifications.

use actix_web::{HttpResponse, get, patch, post, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shepherd_domain::ids::NotificationId;
use shepherd_ports::notifications::NotificationRecord;
use shepherd_usecases::notification::{mark_all_read, mark_read};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{AnySession, Authorized, Query, page, path_id};
use crate::http::respond::{Answer, Pagination};

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(list)
        .service(unread_count)
        .service(read_one)
        .service(read_all);
}

/// A notification.
#[derive(Serialize, ToSchema)]
struct Notification {
    id: Uuid,
    /// APPROVAL_PENDING, APPROVAL_COMPLETED, APPROVAL_REJECTED, VM_STATUS_CHANGE or SYSTEM_ALERT.
    #[serde(rename = "type")]
    kind: String,
    /// `info`, `warning` or `urgent`.
    severity: String,
    /// English fall-back; `params` lets a UI speak its own language.
    title: String,
    message: String,
    #[schema(value_type = Object)]
    params: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<String>,
    read: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
}

impl From<NotificationRecord> for Notification {
    fn from(record: NotificationRecord) -> Self {
        Self {
            id: record.id.into(),
            kind: record.kind,
            severity: record.severity,
            title: record.title,
            message: record.message,
            params: record.params,
            resource_type: record.resource_type,
            resource_id: record.resource_id,
            read: record.read,
            read_at: record.read_at,
            created_at: record.created_at,
        }
    }
}

/// A page of notifications.
#[derive(Serialize, ToSchema)]
struct NotificationList {
    items: Vec<Notification>,
    pagination: Pagination,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    page: Option<u32>,
    per_page: Option<u32>,
    unread_only: Option<bool>,
}

/// List own notifications
#[utoipa::path(tag = "notifications", operation_id = "list_notifications", params(ListQuery), responses((status = 200, body = NotificationList)))]
#[get("/notifications")]
async fn list(api: web::Data<Api>, auth: Authorized<AnySession>, query: Query<ListQuery>) -> Answer {
    let query = query.read()?;
    let user = auth.caller.subject.user();
    let found = api
        .platform
        .read
        .list_notifications(
            user,
            query.unread_only.unwrap_or(false),
            page(query.page, query.per_page)?,
        )
        .await?;
    let pagination = Pagination::of(&found);
    let items = found.items.into_iter().map(Notification::from).collect();
    Ok(HttpResponse::Ok().json(NotificationList { items, pagination }))
}

/// How many notifications wait.
#[derive(Serialize, ToSchema)]
struct UnreadCount {
    count: i64,
}

/// Count unread notifications
#[utoipa::path(tag = "notifications", operation_id = "count_unread_notifications", responses((status = 200, body = UnreadCount)))]
#[get("/notifications/unread-count")]
async fn unread_count(api: web::Data<Api>, auth: Authorized<AnySession>) -> Answer {
    let count = api.platform.read.unread_count(auth.caller.subject.user()).await?;
    Ok(HttpResponse::Ok().json(UnreadCount { count }))
}

/// Mark a notification as read
#[utoipa::path(tag = "notifications", operation_id = "mark_notification_read", params(("notification_id" = Uuid, Path)), responses((status = 204)))]
#[patch("/notifications/{notification_id}/read")]
async fn read_one(api: web::Data<Api>, auth: Authorized<AnySession>, id: web::Path<String>) -> Answer {
    let id: NotificationId = path_id("notification_id", &id)?;
    mark_read::execute(&api.platform, &auth.caller, id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Mark all notifications as read
#[utoipa::path(tag = "notifications", operation_id = "mark_all_notifications_read", responses((status = 204)))]
#[post("/notifications/mark-all-read")]
async fn read_all(api: web::Data<Api>, auth: Authorized<AnySession>) -> Answer {
    mark_all_read::execute(&api.platform, &auth.caller).await?;
    Ok(HttpResponse::NoContent().finish())
}
