//! PATCH in its three formats.

use serde_json::Value;

use super::options::WriteOptions;
use super::reply::Reply;
use super::route::Target;
use super::write::{self, Ownership};
use super::{ApiState, Call, json_object};
use crate::patch::apply::{Apply, apply, conflict_message};
use crate::patch::json::{self, PatchError};
use crate::patch::merge::merge;
use crate::status::{ApiError, Cause};
use crate::store::Store;
use crate::{host, object};

const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Applies a patch.
pub(crate) fn patch(state: &ApiState, call: &Call, target: &Target) -> Result<Reply, ApiError> {
    let options = WriteOptions::of(call)?;
    let is_apply = call.content_type == "application/apply-patch+yaml";
    if options.force && !is_apply {
        return Err(invalid_options(
            "force",
            "Forbidden: may not be specified for non-apply patch",
        ));
    }
    match call.content_type.as_str() {
        "application/apply-patch+yaml" => server_side_apply(state, call, target, &options),
        "application/merge-patch+json" => {
            let patch = json_object(&call.body)?;
            alter(state, target, &options, |live| {
                let mut altered = live.clone();
                merge(&mut altered, &patch);
                Ok(altered)
            })
        }
        "application/json-patch+json" => {
            let patch: Value = serde_json::from_slice(&call.body)
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            alter(state, target, &options, |live| {
                json::apply(live, &patch).map_err(|error| match error {
                    PatchError::Malformed(_) => ApiError::bad_request(error.to_string()),
                    PatchError::Rejected(_) => ApiError::new(422, "Invalid", error.to_string()),
                })
            })
        }
        _ => Err(ApiError::unsupported_media_type(ACCEPTED)),
    }
}

fn invalid_options(field: &str, why: &str) -> ApiError {
    ApiError::new(
        422,
        "Invalid",
        format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {why}"),
    )
}

/// Patches that turn the live object into another one.
fn alter(
    state: &ApiState,
    target: &Target,
    options: &WriteOptions,
    change: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Reply, ApiError> {
    let (body, warnings) = state.cluster.write(|store| {
        let live = store
            .get(target.def, target.namespace(), target.name())
            .ok_or_else(|| ApiError::not_found(target.def, target.name()))?;
        let mut altered = change(&live)?;
        if !altered["metadata"].is_object() {
            return Err(ApiError::bad_request("metadata is not an object"));
        }
        let warnings = write::prepare(state, target, &mut altered, options)?;
        write::check_identity(target.def, &live, &altered)?;
        let body = write::replace(
            store,
            state,
            target,
            &live,
            altered,
            Ownership::Track(&options.manager),
            options.dry_run,
        )?;
        Ok((body, warnings))
    })?;
    Ok(Reply::Json {
        code: 200,
        body,
        warnings,
        content_type: None,
    })
}

fn server_side_apply(
    state: &ApiState,
    call: &Call,
    target: &Target,
    options: &WriteOptions,
) -> Result<Reply, ApiError> {
    if !options.named_manager {
        return Err(invalid_options(
            "fieldManager",
            "Required value: is required for apply patch",
        ));
    }
    let mut wanted = json_object(&call.body)?;
    let warnings = write::prepare(state, target, &mut wanted, options)?;
    if !wanted["metadata"]["managedFields"].is_null() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let sent = wanted.clone();
    keep_applicable(target, &mut wanted);
    let (code, body) = state
        .cluster
        .write(|store| apply_in(store, state, target, options, &sent, &wanted))?;
    Ok(Reply::Json {
        code,
        body,
        warnings,
        content_type: None,
    })
}

/// Leaves only what this path may write.
fn keep_applicable(target: &Target, wanted: &mut Value) {
    let metadata = object::metadata_mut(wanted);
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
    ] {
        metadata.remove(field);
    }
    let document = object::as_map(wanted);
    if target.status {
        document.retain(|field, _| matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
        object::metadata_mut(wanted).retain(|field, _| matches!(field.as_str(), "name" | "namespace"));
    } else if target.def.status {
        document.remove("status");
    }
}

fn apply_in(
    store: &mut Store,
    state: &ApiState,
    target: &Target,
    options: &WriteOptions,
    sent: &Value,
    wanted: &Value,
) -> Result<(u16, Value), ApiError> {
    let def = target.def;
    let live = store.get(def, target.namespace(), target.name());
    match &live {
        Some(live) => write::check_identity(def, live, sent)?,
        None if target.status => return Err(ApiError::not_found(def, target.name())),
        None if !object::uid(sent).is_empty() || !object::resource_version(sent).is_empty() => {
            let why = "uid mismatch: the provided object specified a uid or resourceVersion, and no existing object \
                       was found";
            return Err(ApiError::conflict(def, target.name(), why));
        }
        None => {}
    }
    let request = Apply {
        live: live.as_deref(),
        wanted,
        manager: &options.manager,
        subresource: if target.status { "status" } else { "" },
        force: options.force,
        api_version: &def.api_version(),
        time: &host::timestamp(),
        shapes: state.cluster.schemas.shapes(def),
    };
    let merged = apply(&request).map_err(|conflicts| {
        let causes: Vec<Cause> = conflicts
            .iter()
            .map(|conflict| Cause {
                reason: "FieldManagerConflict",
                message: format!("conflict with {}", conflict.owner),
                field: conflict.field.clone(),
            })
            .collect();
        ApiError::apply_conflict(conflict_message(&conflicts), &causes)
    })?;
    match &live {
        None => Ok((201, write::insert(store, state, def, merged, options.dry_run)?)),
        Some(live) => {
            let body = write::replace(store, state, target, live, merged, Ownership::Given, options.dry_run)?;
            Ok((200, body))
        }
    }
}
