//! The objects of one rendering of the chart among themselves: what one names, another has to be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Manifest;

/// Where the binary looks for its configuration, seen from its working directory.
const CONFIGURATION: &str = "/config";
/// The job that alerts ask for.
const JOB: &str = "shepherd";

/// What is wrong within any rendering; objects of one origin belong together.
pub(super) fn check(rendered: &[Manifest]) -> Vec<String> {
    let mut releases: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for Manifest { origin, object } in rendered {
        releases.entry(origin).or_default().push(object);
    }
    let mut findings = Vec::new();
    for (origin, objects) in releases {
        let of_release = check_release(&objects);
        findings.extend(of_release.into_iter().map(|finding| format!("{origin}: {finding}")));
    }
    findings
}

fn check_release(objects: &[&Value]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut named = BTreeSet::new();
    for object in objects {
        let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
        if !named.insert((kind, name)) {
            findings.push(format!("{kind} {name} is there twice"));
        }
        let found = match kind {
            "Deployment" | "Job" => check_pod(objects, &object["spec"]["template"]["spec"]),
            "ServiceMonitor" => check_monitor(objects, object),
            _ => Vec::new(),
        };
        findings.extend(found.into_iter().map(|finding| format!("{kind} {name}: {finding}")));
    }
    findings
}

/// Every command that is run in the pod finds the configuration, and sees when it changes.
fn check_pod(objects: &[&Value], pod: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for container in list(&pod["containers"]) {
        if text(container, "/workingDir") != "/" {
            findings.push("does not start in the root folder, from where the configuration is looked for".to_owned());
        }
        let mounts = list(&container["volumeMounts"]);
        let Some(mount) = mounts.iter().find(|mount| text(mount, "/mountPath") == CONFIGURATION) else {
            findings.push(format!("mounts nothing at {CONFIGURATION}"));
            continue;
        };
        if mount.get("subPath").is_some() {
            findings.push(format!("mounts a single file at {CONFIGURATION}, which never changes"));
        }
        let volumes = list(&pod["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let source = volume.map_or("", |volume| text(volume, "/configMap/name"));
        let holds_it = |object: &Value| {
            text(object, "/kind") == "ConfigMap"
                && text(object, "/metadata/name") == source
                && object["data"]["config.yaml"].is_string()
        };
        if !objects.iter().any(|object| holds_it(object)) {
            findings.push(format!("what it mounts at {CONFIGURATION} is no configuration"));
        }
    }
    findings
}

/// The monitor selects a Service, and names its targets as the alerts do.
fn check_monitor(objects: &[&Value], monitor: &Value) -> Vec<String> {
    let wanted = monitor["spec"]["selector"]["matchLabels"].as_object();
    let is_selected = |object: &Value| {
        let labels = &object["metadata"]["labels"];
        text(object, "/kind") == "Service"
            && wanted.is_some_and(|wanted| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)))
    };
    let Some(service) = objects.iter().find(|object| is_selected(object)) else {
        return vec!["selects no Service".to_owned()];
    };
    let label = text(monitor, "/spec/jobLabel");
    if service["metadata"]["labels"].get(label).and_then(Value::as_str) == Some(JOB) {
        Vec::new()
    } else {
        vec![format!("does not call the job {JOB}, which the alerts ask for")]
    }
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.pointer(field).and_then(Value::as_str).unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release() -> Vec<Value> {
        vec![
            json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"config.yaml": "{}"}}),
            json!({"kind": "Job", "metadata": {"name": "a"}, "spec": {"template": {"spec": {
                "containers": [{
                    "workingDir": "/", "volumeMounts": [{"name": "config", "mountPath": "/config"}],
                }],
                "volumes": [{"name": "config", "configMap": {"name": "a"}}],
            }}}}),
            json!({"kind": "Service", "metadata": {"name": "a", "labels": {"for": "metrics", "job": "shepherd"}}}),
            json!({"kind": "ServiceMonitor", "metadata": {"name": "a"}, "spec": {
                "jobLabel": "job", "selector": {"matchLabels": {"for": "metrics"}},
            }}),
        ]
    }

    fn findings(objects: Vec<Value>) -> Vec<String> {
        let manifest = |object| Manifest {
            origin: "chart".to_owned(),
            object,
        };
        check(&objects.into_iter().map(manifest).collect::<Vec<_>>())
    }

    #[test]
    fn what_belongs_together_passes() {
        assert_eq!(findings(release()), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let pod = "/spec/template/spec";
        for (index, field, value) in [
            (0, "/data".to_owned(), json!({})),
            (0, "/kind".to_owned(), json!("Job")),
            (1, format!("{pod}/containers/0/workingDir"), json!("/tmp")),
            (
                1,
                format!("{pod}/containers/0/volumeMounts/0/mountPath"),
                json!("/etc/shepherd"),
            ),
            (
                1,
                format!("{pod}/containers/0/volumeMounts/0"),
                json!({"name": "config", "mountPath": "/config", "subPath": "config.yaml"}),
            ),
            (1, format!("{pod}/volumes/0/configMap/name"), json!("b")),
            (2, "/metadata/labels/for".to_owned(), json!("the API")),
            (2, "/metadata/labels/job".to_owned(), json!("vms")),
        ] {
            let mut objects = release();
            *objects[index].pointer_mut(&field).unwrap() = value;
            let found = findings(objects);
            assert!(!found.is_empty(), "{field}");
            assert!(found.iter().all(|finding| finding.starts_with("chart: ")), "{found:?}");
        }
    }
}
