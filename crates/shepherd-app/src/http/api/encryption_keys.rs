//! Encryption keys.

use actix_web::{HttpResponse, get, post, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use shepherd_ports::encryption_keys::EncryptionKeyRecord;
use shepherd_usecases::encryption::rotate;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::http::Api;
use crate::http::extract::{Authorized, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `platform:admin`
    Admin = [PlatformAdmin],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(list).service(rotate_key);
}

/// An encryption key; the key itself is never returned.
#[derive(Serialize, ToSchema)]
struct EncryptionKey {
    /// The first eight hex characters of its SHA-256.
    key_id: String,
    /// `active`: it seals; `retired`: it only opens.
    state: &'static str,
    created_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired_at: Option<DateTime<Utc>>,
    /// Values that need it. A retired key without any is removed.
    sealed_rows: i64,
}

impl From<EncryptionKeyRecord> for EncryptionKey {
    fn from(record: EncryptionKeyRecord) -> Self {
        Self {
            key_id: record.key_id,
            state: if record.active { "active" } else { "retired" },
            created_at: record.created_at,
            retired_at: record.retired_at,
            sealed_rows: record.sealed_rows,
        }
    }
}

/// All encryption keys.
#[derive(Serialize, ToSchema)]
struct EncryptionKeyList {
    items: Vec<EncryptionKey>,
}

/// List encryption keys
///
/// The active one first, then the youngest.
#[utoipa::path(tag = "administration", operation_id = "list_encryption_keys", responses((status = 200, body = EncryptionKeyList)))]
#[get("/admin/encryption-keys")]
async fn list(api: web::Data<Api>, _auth: Authorized<Admin>) -> Answer {
    let found = api.platform.read.list_encryption_keys().await?;
    let items = found.into_iter().map(EncryptionKey::from).collect();
    Ok(HttpResponse::Ok().json(EncryptionKeyList { items }))
}

/// The key that seals from now on.
#[derive(Serialize, ToSchema)]
struct RotationAccepted {
    key_id: String,
}

/// Rotate the encryption key
///
/// What older keys sealed is sealed anew in the background.
#[utoipa::path(tag = "administration", operation_id = "rotate_encryption_key", responses((status = 202, body = RotationAccepted)))]
#[post("/admin/encryption-keys/rotate")]
async fn rotate_key(api: web::Data<Api>, auth: Authorized<Admin>) -> Answer {
    let answer = rotate::execute(&api.platform, &auth.caller, auth.idempotent(&api).as_ref()).await?;
    Ok(HttpResponse::Accepted().json(RotationAccepted { key_id: answer.outcome }))
}
