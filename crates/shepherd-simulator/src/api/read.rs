//! Get and list.
//!
//! Every page of a list shows the state at the revision of the first page.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Call;
use super::route::Target;
use crate::cluster::Cluster;
use crate::resources::ResourceDef;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{ObjectKey, TooOld};

/// Where the next page starts. Opaque to clients.
#[derive(Debug, Serialize, Deserialize)]
struct ContinueToken {
    revision: u64,
    namespace: String,
    name: String,
}

impl ContinueToken {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(json!(self).to_string())
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .ok_or_else(|| ApiError::bad_request("continue key is not valid"))
    }
}

/// One object.
pub(crate) fn get(cluster: &Cluster, target: &Target) -> Result<Value, ApiError> {
    cluster
        .read(|store| store.get(target.def, target.namespace(), target.name()))
        .map(|object| Value::clone(&object))
        .ok_or_else(|| ApiError::not_found(target.def, target.name()))
}

/// The selector of a request.
pub(crate) fn selector_of(call: &Call) -> Result<Selector, ApiError> {
    Selector::parse(call.params.get("labelSelector"), call.params.get("fieldSelector"))
}

/// A page of objects.
pub(crate) fn list(cluster: &Cluster, call: &Call, target: &Target) -> Result<Value, ApiError> {
    let selector = selector_of(call)?;
    let limit = call.params.number("limit")?.filter(|limit| *limit > 0);
    let limit = limit
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX);
    let token = call.params.get("continue").map(ContinueToken::decode).transpose()?;
    let asked = call.params.number("resourceVersion")?;
    let exact = call.params.get("resourceVersionMatch") == Some("Exact");

    let (revision, table) = cluster.read(|store| {
        let revision = match (&token, asked) {
            (Some(token), _) => token.revision,
            (None, Some(asked)) if asked > store.revision() => return Err(too_large(asked, store.revision())),
            (None, Some(asked)) if exact && asked > 0 => asked,
            (None, _) => store.revision(),
        };
        let table = store
            .table_at(target.def, revision)
            .map_err(|too_old| expired(revision, too_old, token.is_some()))?;
        Ok((revision, table))
    })?;

    let after: Option<ObjectKey> = token.map(|token| (token.namespace, token.name));
    let mut matching = table
        .iter()
        .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after))
        .filter(|((namespace, _), _)| target.namespace().is_empty() || namespace == target.namespace())
        .filter(|(_, object)| selector.matches(object));
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    let page: Vec<_> = matching.by_ref().take(limit).collect();
    let remaining = matching.count();
    if let (1.., Some(((namespace, name), _))) = (remaining, page.last()) {
        let next = ContinueToken {
            revision,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        metadata["continue"] = Value::from(next.encode());
        if selector.is_empty() {
            metadata["remainingItemCount"] = Value::from(remaining);
        }
    }
    let items: Vec<Value> = page
        .into_iter()
        .map(|(_, object)| list_item(target.def, object))
        .collect();
    Ok(json!({
        "kind": target.def.list_kind(),
        "apiVersion": target.def.api_version(),
        "metadata": metadata,
        "items": items,
    }))
}

/// Items of built-in lists carry no type of their own; those of custom resources do.
pub(crate) fn list_item(def: &ResourceDef, object: &Value) -> Value {
    let mut item = object.clone();
    if !def.is_custom()
        && let Value::Object(map) = &mut item
    {
        map.remove("kind");
        map.remove("apiVersion");
    }
    item
}

fn expired(revision: u64, too_old: TooOld, paging: bool) -> ApiError {
    if paging {
        ApiError::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new \
             list without the continue parameter.",
        )
    } else {
        ApiError::expired(format!("too old resource version: {revision} ({})", too_old.oldest))
    }
}

fn too_large(asked: u64, current: u64) -> ApiError {
    let mut error = ApiError::new(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {asked}, current: {current}"),
    );
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    error.details = Some(json!({"causes": [cause]}));
    error.retry_after = Some(1);
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::options::Params;
    use crate::config::ClusterSeed;
    use crate::resources::CONFIG_MAPS;
    use crate::schema::Schemas;
    use crate::store::Store;

    fn call(query: &str) -> Call {
        Call {
            method: actix_web::http::Method::GET,
            params: Params::parse(query),
            content_type: String::new(),
            accept: String::new(),
            agent: String::new(),
            body: actix_web::web::Bytes::new(),
            upgrade: None,
        }
    }

    fn cluster_of(names: &[&str]) -> Cluster {
        let mut store = Store::default();
        for name in names {
            store.put(
                &CONFIG_MAPS,
                json!({"kind": "ConfigMap", "metadata": {"namespace": "a", "name": name}}),
            );
        }
        Cluster::new(ClusterSeed::default(), Schemas::default(), store)
    }

    fn target() -> Target {
        Target {
            def: &CONFIG_MAPS,
            namespace: Some("a".to_owned()),
            name: None,
            status: false,
        }
    }

    fn names(list: &Value) -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| crate::object::name(item).to_owned()).collect()
    }

    #[test]
    fn pages_show_one_consistent_state() {
        let cluster = cluster_of(&["one", "three", "two"]);
        let first = list(&cluster, &call("limit=2"), &target()).unwrap();
        assert_eq!(names(&first), ["one", "three"]);
        assert_eq!(first["metadata"]["remainingItemCount"], 1);

        cluster.write(|store| {
            store.remove(&CONFIG_MAPS, "a", "two");
            store.put(&CONFIG_MAPS, json!({"metadata": {"namespace": "a", "name": "zero"}}));
        });
        let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
        let second = list(&cluster, &call(&format!("limit=2&continue={token}")), &target()).unwrap();
        assert_eq!(names(&second), ["two"]);
        assert_eq!(
            second["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        assert!(second["metadata"]["continue"].is_null());
    }

    #[test]
    fn an_old_page_is_gone() {
        let cluster = cluster_of(&["one", "two"]);
        let first = list(&cluster, &call("limit=1"), &target()).unwrap();
        cluster.write(Store::expire);
        let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
        let error = list(&cluster, &call(&format!("continue={token}")), &target()).unwrap_err();
        assert_eq!((error.code, error.reason.as_str()), (410, "Expired"));
    }
}
