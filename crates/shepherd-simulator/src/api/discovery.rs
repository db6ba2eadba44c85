//! What the cluster serves, in the plain and the aggregated discovery format.

use serde_json::{Value, json};

use super::reply::Reply;
use super::route::{ConsoleKind, POWER_GROUP, PowerVerb};
use crate::config::ClusterSeed;
use crate::resources::{INSTANCES, Registry, ResourceDef};
use crate::status::ApiError;

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const STATUS_VERBS: [&str; 3] = ["get", "patch", "update"];
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/version`
pub(crate) fn version(seed: &ClusterSeed) -> Value {
    let version = seed.kubernetes_version.trim_start_matches('v');
    let mut parts = version.split('.');
    json!({
        "major": parts.next().unwrap_or("1"),
        "minor": parts.next().unwrap_or("0"),
        "gitVersion": format!("v{version}"),
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2025-05-15T08:19:08Z",
        "goVersion": "go1.24.2",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// `/api`
pub(crate) fn core_versions(registry: &Registry, accept: &str) -> Reply {
    if wants_aggregated(accept) {
        return aggregated(vec![aggregated_group(registry, "", "v1")]);
    }
    Reply::ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
}

/// `/apis`
pub(crate) fn groups(registry: &Registry, accept: &str) -> Reply {
    let served = served_groups(registry);
    if wants_aggregated(accept) {
        let groups = served
            .iter()
            .map(|(group, version)| aggregated_group(registry, group, version))
            .collect();
        return aggregated(groups);
    }
    let groups: Vec<Value> = served
        .iter()
        .map(|(group, version)| plain_group(group, version))
        .collect();
    Reply::ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
}

/// `/apis/GROUP`
pub(crate) fn group(registry: &Registry, name: &str) -> Result<Value, ApiError> {
    let (name, version) = served_groups(registry)
        .into_iter()
        .find(|(group, _)| *group == name)
        .ok_or_else(ApiError::no_such_path)?;
    let mut document = plain_group(name, version);
    document["kind"] = Value::from("APIGroup");
    document["apiVersion"] = Value::from("v1");
    Ok(document)
}

/// `/api/v1` and `/apis/GROUP/VERSION`
pub(crate) fn resources(registry: &Registry, group: &str, version: &str) -> Result<Value, ApiError> {
    let served = group.is_empty() && version == "v1"
        || served_groups(registry)
            .into_iter()
            .any(|entry| entry == (group, version));
    if !served {
        return Err(ApiError::no_such_path());
    }
    let mut resources = Vec::new();
    for def in registry.iter().filter(|def| def.group == group) {
        resources.push(json!({
            "name": def.plural,
            "singularName": def.singular,
            "namespaced": def.namespaced,
            "kind": def.kind,
            "verbs": VERBS,
            "shortNames": def.short_names,
        }));
        if def.status {
            resources.push(json!({
                "name": format!("{}/status", def.plural),
                "singularName": "",
                "namespaced": def.namespaced,
                "kind": def.kind,
                "verbs": STATUS_VERBS,
            }));
        }
    }
    if group == POWER_GROUP {
        resources.extend(PowerVerb::ALL.iter().map(|(def, verb)| {
            json!({
                "name": format!("{}/{}", def.plural, verb.name()),
                "singularName": "",
                "namespaced": true,
                "kind": def.kind,
                "verbs": ["update"],
            })
        }));
        resources.extend(ConsoleKind::ALL.iter().map(|kind| {
            json!({
                "name": format!("{}/{}", INSTANCES.plural, kind.name()),
                "singularName": "",
                "namespaced": true,
                "kind": INSTANCES.kind,
                "verbs": ["get"],
            })
        }));
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }))
}

fn served_groups(registry: &Registry) -> Vec<(&'static str, &'static str)> {
    let mut groups = registry.groups();
    groups.push((POWER_GROUP, "v1"));
    groups
}

fn plain_group(group: &str, version: &str) -> Value {
    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    json!({"name": group, "versions": [version.clone()], "preferredVersion": version})
}

fn wants_aggregated(accept: &str) -> bool {
    let first = accept.split(',').next().unwrap_or_default();
    first.contains("as=APIGroupDiscoveryList") && first.contains("v=v2") && !first.contains("v=v2beta1")
}

fn aggregated(groups: Vec<Value>) -> Reply {
    let body = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups,
    });
    Reply::Json {
        code: 200,
        body,
        warnings: Vec::new(),
        content_type: Some(AGGREGATED),
    }
}

fn aggregated_group(registry: &Registry, group: &str, version: &str) -> Value {
    let resources: Vec<Value> = registry
        .iter()
        .filter(|def| def.group == group)
        .map(aggregated_resource)
        .collect();
    let metadata = if group.is_empty() {
        json!({})
    } else {
        json!({"name": group})
    };
    json!({
        "metadata": metadata,
        "versions": [{"version": version, "resources": resources, "freshness": "Current"}],
    })
}

fn aggregated_resource(def: &ResourceDef) -> Value {
    let kind = json!({"group": def.group, "version": def.version, "kind": def.kind});
    let mut resource = json!({
        "resource": def.plural,
        "responseKind": kind,
        "scope": if def.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": def.singular,
        "verbs": VERBS,
        "shortNames": def.short_names,
    });
    if def.status {
        resource["subresources"] = json!([{"subresource": "status", "responseKind": kind, "verbs": STATUS_VERBS}]);
    }
    resource
}
