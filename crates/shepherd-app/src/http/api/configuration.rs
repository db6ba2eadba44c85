//! The configuration as it is, with where it comes from.

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::config::keys::{KEYS, Key};
use crate::config::values::{Values, shown};
use crate::config::{Config, Standing};
use crate::http::Api;
use crate::http::extract::{Authorized, requirements};
use crate::http::respond::Answer;

requirements! {
    /// `config:read`
    Read = [ConfigRead],
}

pub(super) fn routes(config: &mut ServiceConfig) {
    config.service(read);
}

/// One key of the configuration. Values are written as in the environment; secrets are `set` or `unset`.
#[derive(Serialize, ToSchema)]
struct ConfigKey {
    #[schema(example = "server.heavy_write_limit")]
    key: &'static str,
    /// What the key says.
    description: &'static str,
    /// What holds at the replica that answers.
    #[schema(example = "30")]
    value: String,
    #[schema(example = "30")]
    default: String,
    /// `default`, `file` or `environment`.
    #[schema(example = "default")]
    source: &'static str,
    /// The file or the variable.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_name: Option<String>,
    /// Whether a change of the file takes effect while the process runs.
    hot_reload: bool,
    /// Whether the file says something else by now that takes effect with a restart.
    restart_required: bool,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    value_after_restart: Option<String>,
}

/// The effective configuration of the replica that answers.
#[derive(Serialize, ToSchema)]
struct EffectiveConfig {
    /// The file that is followed, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// All keys, by name.
    items: Vec<ConfigKey>,
}

/// Show the effective configuration
///
/// Each key with its value, its default, where the value comes from, and whether a restart is needed for what the file
/// says by now.
#[utoipa::path(tag = "administration", operation_id = "get_config", responses((status = 200, body = EffectiveConfig)))]
#[get("/admin/config")]
async fn read(api: web::Data<Api>, _auth: Authorized<Read>) -> Answer {
    Ok(HttpResponse::Ok().json(EffectiveConfig::of(&api.standing.now())))
}

impl EffectiveConfig {
    fn of(standing: &Standing) -> Self {
        let defaults = Config::default().values();
        let holds = standing.effective.config.values();
        let said = standing.newest.config.values();
        let items = KEYS.iter().map(|key| {
            let source = standing.effective.source(key.name);
            let waits = holds.get(key.name) != said.get(key.name);
            ConfigKey {
                key: key.name,
                description: key.what,
                value: written(key, &holds),
                default: written(key, &defaults),
                source: source.kind(),
                source_name: source.name(),
                hot_reload: key.hot,
                restart_required: waits,
                value_after_restart: waits.then(|| written(key, &said)),
            }
        });
        Self {
            file: standing
                .newest
                .file
                .as_ref()
                .map(|file| file.path.display().to_string()),
            items: items.collect(),
        }
    }
}

fn written(key: &Key, values: &Values) -> String {
    let value = values.get(key.name).unwrap_or(&Value::Null);
    if !key.secret {
        return shown(value);
    }
    let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if is_empty { "unset" } else { "set" }.to_owned()
}
