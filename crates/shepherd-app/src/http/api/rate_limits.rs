//! Limits of users: exemptions, overrides, and where everybody stands.

use actix_web::{HttpResponse, delete, get, post, put, web};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use shepherd_domain::ids::UserId;
use shepherd_domain::limit::whole_seconds;
use shepherd_ports::limits::{ExemptionRecord, OverrideRecord};
use shepherd_usecases::limit::status::UserStatus;
use shepherd_usecases::limit::{exempt, lift_exemption, override_numbers, status};
use utoipa::{IntoParams, ToSchema};
use utoipa_actix_web::service_config::ServiceConfig;
use uuid::Uuid;

use crate::http::Api;
use crate::http::extract::{Authorized, IfMatch, Json, Query, path_id, present, requirements};
use crate::http::respond::{Answer, versioned};

requirements! {
    /// `rate_limit:manage`
    Manage = [RateLimitManage],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config
        .service(post_exemption)
        .service(delete_exemption)
        .service(put_override)
        .service(get_status);
}

/// A user without limits of its own.
#[derive(Serialize, ToSchema)]
struct RateLimitExemption {
    user_id: Uuid,
    exempted_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// From then on it counts no more; absent for one that does not end.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<ExemptionRecord> for RateLimitExemption {
    fn from(record: ExemptionRecord) -> Self {
        Self {
            user_id: record.user_id.into(),
            exempted_by: record.exempted_by.to_string(),
            reason: record.reason,
            expires_at: record.expires_at,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// Who is exempted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10", "reason": "moves the shop"}))]
struct ExemptUserRequest {
    user_id: Uuid,
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// When the limits hold again: in the future, within a hundred years. Never when absent.
    expires_at: Option<DateTime<Utc>>,
}

/// Exempt a user from the limits of users
///
/// An exemption there is, is replaced. The limits of the platform as a whole stay. Nobody exempts the own account, except
/// platform administrators.
#[utoipa::path(tag = "rate-limits", operation_id = "upsert_rate_limit_exemption", request_body = ExemptUserRequest, responses((status = 200, body = RateLimitExemption)))]
#[post("/admin/rate-limits/exemptions")]
async fn post_exemption(api: web::Data<Api>, auth: Authorized<Manage, Json<ExemptUserRequest>>) -> Answer {
    let Json(body) = auth.body;
    let command = exempt::ExemptUser {
        user: UserId::from_uuid(body.user_id),
        reason: body.reason,
        expires_at: body.expires_at,
    };
    let stored = exempt::execute(&api.platform, &auth.caller, command).await?;
    Ok(versioned(stored.row_version, RateLimitExemption::from(stored)))
}

/// Take an exemption away
///
/// The limits hold from the next submission on.
#[utoipa::path(tag = "rate-limits", operation_id = "delete_rate_limit_exemption", params(("user_id" = Uuid, Path)), responses((status = 204)))]
#[delete("/admin/rate-limits/exemptions/{user_id}")]
async fn delete_exemption(api: web::Data<Api>, auth: Authorized<Manage>, id: web::Path<String>) -> Answer {
    let user: UserId = path_id("user_id", &id)?;
    lift_exemption::execute(&api.platform, &auth.caller, user).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Numbers that hold for one user instead of the configured ones.
#[derive(Serialize, ToSchema)]
struct RateLimitUserOverride {
    user_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pending_parents: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pending_children: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    updated_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<OverrideRecord> for RateLimitUserOverride {
    fn from(record: OverrideRecord) -> Self {
        Self {
            user_id: record.user_id.into(),
            max_pending_parents: record.numbers.max_pending_parents,
            max_pending_children: record.numbers.max_pending_children,
            cooldown_seconds: record.numbers.cooldown_seconds,
            reason: record.reason,
            updated_by: record.updated_by.to_string(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// Which numbers hold for the user: absent leaves a value, null gives the configured number back. At least one of them
/// or a reason.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"max_pending_parents": 10, "cooldown_seconds": 0, "reason": "moves the shop"}))]
struct OverrideRateLimitRequest {
    /// Most batches that are pending or in progress.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    max_pending_parents: Option<Option<u32>>,
    /// Most open machines of creations and deletions.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    max_pending_children: Option<Option<u32>>,
    /// How long to wait after a batch was accepted.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 1_000_000)]
    cooldown_seconds: Option<Option<u32>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    reason: Option<Option<String>>,
}

/// Override single limits of a user
///
/// They hold from the next submission on. Nobody overrides the limits of the own account, except platform administrators.
#[utoipa::path(tag = "rate-limits", operation_id = "upsert_rate_limit_override", params(("user_id" = Uuid, Path)), request_body = OverrideRateLimitRequest, responses((status = 200, body = RateLimitUserOverride)))]
#[put("/admin/rate-limits/users/{user_id}")]
async fn put_override(
    api: web::Data<Api>,
    auth: Authorized<Manage, Json<OverrideRateLimitRequest>>,
    id: web::Path<String>,
    version: IfMatch,
) -> Answer {
    let user: UserId = path_id("user_id", &id)?;
    let Json(body) = auth.body;
    let command = override_numbers::OverrideNumbers {
        max_pending_parents: body.max_pending_parents,
        max_pending_children: body.max_pending_children,
        cooldown_seconds: body.cooldown_seconds,
        reason: body.reason,
    };
    let stored = override_numbers::execute(&api.platform, &auth.caller, user, command, version.0).await?;
    Ok(versioned(stored.row_version, RateLimitUserOverride::from(stored)))
}

/// Where one user stands.
#[derive(Serialize, ToSchema)]
struct RateLimitUserStatus {
    user_id: Uuid,
    username: String,
    exempted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    exemption_expires_at: Option<DateTime<Utc>>,
    /// What holds without an exemption.
    effective_max_pending_parents: u32,
    /// What holds without an exemption.
    effective_max_pending_children: u32,
    /// What holds without an exemption.
    effective_cooldown_seconds: u64,
    /// Batches that are pending or in progress, of every kind.
    current_pending_parents: u32,
    /// Open machines of creations and deletions.
    current_pending_children: u32,
    /// 0 when the next batch need not wait.
    cooldown_remaining_seconds: u64,
}

impl From<UserStatus> for RateLimitUserStatus {
    fn from(status: UserStatus) -> Self {
        Self {
            user_id: status.user.into(),
            username: status.username,
            exempted: status.exempted,
            exemption_expires_at: status.exemption_expires_at,
            effective_max_pending_parents: status.limits.max_pending_parents,
            effective_max_pending_children: status.limits.max_pending_children,
            effective_cooldown_seconds: whole_seconds(status.limits.cooldown),
            current_pending_parents: status.pending_parents,
            current_pending_children: status.pending_children,
            cooldown_remaining_seconds: status.cooldown_remaining,
        }
    }
}

/// Where users stand.
#[derive(Serialize, ToSchema)]
struct RateLimitStatus {
    items: Vec<RateLimitUserStatus>,
    generated_at: DateTime<Utc>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct StatusQuery {
    /// Only this user.
    user_id: Option<String>,
}

/// Show where users stand with their limits
///
/// Every user with an exemption, an override or open batches, by user name.
#[utoipa::path(tag = "rate-limits", operation_id = "get_rate_limit_status", params(StatusQuery), responses((status = 200, body = RateLimitStatus)))]
#[get("/admin/rate-limits/status")]
async fn get_status(api: web::Data<Api>, auth: Authorized<Manage>, query: Query<StatusQuery>) -> Answer {
    let query = query.read()?;
    let user = query.user_id.map(|id| path_id("user_id", &id)).transpose()?;
    let (found, generated_at) = status::execute(&api.platform, &auth.caller, user).await?;
    let items = found.into_iter().map(RateLimitUserStatus::from).collect();
    Ok(HttpResponse::Ok().json(RateLimitStatus { items, generated_at }))
}
