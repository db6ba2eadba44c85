//! The fault switches over HTTP: `GET`, `PUT` and `DELETE /simulator/faults`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{FaultId, FaultRule, Faults, Switches};
use crate::access::Refusal;
use crate::api::Call;
use crate::api::reply::Reply;
use crate::cluster::lock;
use crate::status::ApiError;

/// All switches as one document. `PUT` sets every switch to what the document says, absent ones to off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    /// Delay of every request.
    latency_ms: u64,
    /// Rules, oldest first.
    rules: Vec<FaultRule>,
    /// Verbs on resources that answer 403.
    refused: Vec<Refusal>,
    /// Namespaces whose quota is exceeded.
    quota_exceeded: Vec<String>,
    /// Machines the controllers leave alone.
    frozen: Vec<Machine>,
    /// Whether console streams stand still.
    stall_streams: bool,
    /// One-shot: machines to lose. Never part of an answer.
    #[serde(skip_serializing)]
    lose: Vec<Machine>,
    /// One-shot: cut all watches. Never part of an answer.
    #[serde(skip_serializing)]
    drop_watches: bool,
    /// One-shot: cut all console streams. Never part of an answer.
    #[serde(skip_serializing)]
    drop_streams: bool,
    /// One-shot: make all resource versions too old. Never part of an answer.
    #[serde(skip_serializing)]
    expire_resource_versions: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Machine {
    namespace: String,
    name: String,
}

/// Answers a request to the control endpoint.
pub(crate) fn handle(faults: &Faults, call: &Call) -> Result<Reply, ApiError> {
    match call.method.as_str() {
        "GET" => {}
        "PUT" => {
            let document = serde_json::from_slice(&call.body)
                .map_err(|error| ApiError::bad_request(format!("not a fault document: {error}")))?;
            replace(faults, document);
        }
        "DELETE" => faults.clear(),
        _ => return Err(ApiError::method_not_allowed()),
    }
    Ok(Reply::ok(json!(current(faults))))
}

fn current(faults: &Faults) -> Document {
    let frozen = faults.cluster.read(|store| store.frozen().clone());
    let switches = lock(&faults.switches);
    Document {
        latency_ms: u64::try_from(switches.latency.as_millis()).unwrap_or(u64::MAX),
        rules: switches.rules.values().cloned().collect(),
        refused: switches.refused.iter().cloned().collect(),
        quota_exceeded: switches.quota.iter().cloned().collect(),
        frozen: frozen
            .into_iter()
            .map(|(namespace, name)| Machine { namespace, name })
            .collect(),
        stall_streams: faults.cluster.streams_stalled(),
        ..Document::default()
    }
}

fn replace(faults: &Faults, document: Document) {
    let mut switches = lock(&faults.switches);
    let mut last_id = switches.last_id;
    let rules = document.rules.into_iter().map(|rule| {
        last_id += 1;
        (FaultId(last_id), rule)
    });
    let rules = rules.collect();
    *switches = Switches {
        latency: Duration::from_millis(document.latency_ms),
        rules,
        last_id,
        refused: document.refused.into_iter().collect(),
        quota: document.quota_exceeded.into_iter().collect(),
    };
    drop(switches);
    let frozen: BTreeSet<_> = document
        .frozen
        .into_iter()
        .map(|machine| (machine.namespace, machine.name))
        .collect();
    faults.stall_streams(document.stall_streams);
    faults.cluster.write(|store| store.freeze_only(frozen));
    faults.cluster.nudge();
    for machine in &document.lose {
        faults.lose_vm(&machine.namespace, &machine.name);
    }
    if document.expire_resource_versions {
        faults.expire_resource_versions();
    }
    if document.drop_watches {
        faults.drop_watches();
    }
    if document.drop_streams {
        faults.drop_streams();
    }
}
