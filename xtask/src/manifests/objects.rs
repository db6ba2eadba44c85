//! Kubernetes objects: named, labelled, without secrets, and their pods with as few rights as they need.

use serde_json::Value;

use super::Manifest;

/// The label by which everything of the product is found.
const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Parts of the names of variables that hold secrets.
const SECRET_NAMES: [&str; 5] = ["PASSWORD", "SECRET", "TOKEN", "ENCRYPTION_KEY", "DATABASE_URL"];
/// Keys of the configuration that belong into a Secret.
const SECRET_KEYS: [&str; 5] = [
    "database.url",
    "database.password",
    "security.encryption_key",
    "security.jwt_verification_keys",
    "security.session_secret",
];

/// What is wrong with any of them.
pub(super) fn check(manifests: &[Manifest]) -> Vec<String> {
    let mut findings = Vec::new();
    for Manifest { origin, object } in manifests {
        let kind = object["kind"].as_str().unwrap_or("an object without kind");
        let name = object["metadata"]["name"].as_str().unwrap_or("without name");
        let of_object = check_object(object);
        findings.extend(
            of_object
                .into_iter()
                .map(|finding| format!("{origin}: {kind} {name}: {finding}")),
        );
    }
    findings
}

fn check_object(object: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    for field in ["/apiVersion", "/kind", "/metadata/name"] {
        if filled(object.pointer(field)).is_none() {
            findings.push(format!("has no {field}"));
        }
    }
    if filled(object["metadata"]["labels"].get(NAME_LABEL)).is_none() {
        findings.push(format!("lacks the label {NAME_LABEL}"));
    }
    let kind = object["kind"].as_str().unwrap_or_default();
    if kind == "Secret" && ["data", "stringData"].iter().any(|field| object[*field].is_object()) {
        findings.push("holds a secret in plain text".to_owned());
    }
    if kind == "ConfigMap" {
        findings.extend(check_configuration(object["data"]["config.yaml"].as_str()));
    }
    if matches!(kind, "Deployment" | "Job" | "StatefulSet" | "DaemonSet") {
        findings.extend(check_pod(kind, &object["spec"]["template"]["spec"]));
    }
    findings
}

fn check_configuration(text: Option<&str>) -> Vec<String> {
    let Some(text) = text else {
        return Vec::new();
    };
    match serde_saphyr::from_str::<Value>(text) {
        Ok(configuration) => {
            let mut keys = Vec::new();
            flatten("", &configuration, &mut keys);
            keys.into_iter()
                .filter(|key| SECRET_KEYS.contains(&key.as_str()))
                .map(|key| format!("{key} of config.yaml belongs into a Secret"))
                .collect()
        }
        Err(_) => vec!["config.yaml is no YAML".to_owned()],
    }
}

/// The dotted names of all keys that have a value, whether they are written in sections or in one word.
fn flatten(prefix: &str, section: &Value, keys: &mut Vec<String>) {
    for (name, value) in section.as_object().into_iter().flatten() {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        if value.is_object() {
            flatten(&key, value, keys);
        } else if !value.is_null() {
            keys.push(key);
        }
    }
}

fn check_pod(kind: &str, pod: &Value) -> Vec<String> {
    let wanted = [
        ("/automountServiceAccountToken", Value::from(false)),
        ("/securityContext/runAsNonRoot", Value::from(true)),
        ("/securityContext/seccompProfile/type", Value::from("RuntimeDefault")),
    ];
    let mut findings = unmet(pod, &wanted);
    let containers = list(&pod["containers"]);
    if containers.is_empty() {
        findings.push("has no containers".to_owned());
    }
    for container in containers.iter().chain(list(&pod["initContainers"])) {
        let name = container["name"].as_str().unwrap_or_default();
        let of_container = check_container(kind, container);
        findings.extend(
            of_container
                .into_iter()
                .map(|finding| format!("container {name}: {finding}")),
        );
    }
    findings
}

fn check_container(kind: &str, container: &Value) -> Vec<String> {
    let wanted = [
        ("/securityContext/allowPrivilegeEscalation", Value::from(false)),
        ("/securityContext/readOnlyRootFilesystem", Value::from(true)),
    ];
    let mut findings = unmet(container, &wanted);
    if !list(&container["securityContext"]["capabilities"]["drop"]).contains(&Value::from("ALL")) {
        findings.push("keeps capabilities".to_owned());
    }
    for field in [
        "/resources/requests/cpu",
        "/resources/requests/memory",
        "/resources/limits/memory",
    ] {
        if container.pointer(field).is_none() {
            findings.push(format!("has no {field}"));
        }
    }
    let image = container["image"].as_str().unwrap_or_default();
    if !image.contains('@') && !image.rsplit('/').next().is_some_and(|last| last.contains(':')) {
        findings.push("names an image without version".to_owned());
    }
    if image.ends_with(":latest") {
        findings.push("names an image that changes".to_owned());
    }
    if kind != "Job" {
        for probe in ["livenessProbe", "readinessProbe"] {
            if !container[probe].is_object() {
                findings.push(format!("has no {probe}"));
            }
        }
    }
    for variable in list(&container["env"]) {
        let name = variable["name"].as_str().unwrap_or_default();
        if SECRET_NAMES.iter().any(|part| name.contains(part)) && !variable["value"].is_null() {
            findings.push(format!("holds {name} in plain text"));
        }
    }
    findings
}

fn unmet(object: &Value, wanted: &[(&str, Value)]) -> Vec<String> {
    wanted
        .iter()
        .filter(|(field, value)| object.pointer(field) != Some(value))
        .map(|(field, value)| format!("{field} is not {value}"))
        .collect()
}

fn filled(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "shepherd-api", "labels": {NAME_LABEL: "shepherd"}},
            "spec": {"template": {"spec": {
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "shepherd", "image": "registry:5000/shepherd:1.0",
                    "securityContext": {
                        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                    "livenessProbe": {}, "readinessProbe": {},
                    "env": [{"name": "DATABASE_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
                }],
            }}},
        })
    }

    #[test]
    fn a_careful_deployment_passes() {
        assert_eq!(check_object(&deployment()), Vec::<String>::new());
    }

    #[test]
    fn each_carelessness_is_found() {
        let container = "/spec/template/spec/containers/0";
        for (field, value) in [
            ("/metadata/name".to_owned(), json!("")),
            ("/metadata/labels".to_owned(), json!({})),
            (
                "/spec/template/spec/automountServiceAccountToken".to_owned(),
                json!(true),
            ),
            (
                "/spec/template/spec/securityContext/runAsNonRoot".to_owned(),
                json!(false),
            ),
            (format!("{container}/image"), json!("registry:5000/shepherd")),
            (format!("{container}/image"), json!("shepherd:latest")),
            (
                format!("{container}/securityContext/readOnlyRootFilesystem"),
                json!(null),
            ),
            (
                format!("{container}/securityContext/capabilities/drop"),
                json!(["NET_RAW"]),
            ),
            (format!("{container}/resources/limits"), json!({})),
            (format!("{container}/readinessProbe"), json!(null)),
            (
                format!("{container}/env"),
                json!([{"name": "SESSION_SECRET", "value": "x"}]),
            ),
        ] {
            let mut object = deployment();
            *object.pointer_mut(&field).unwrap() = value;
            assert_eq!(check_object(&object).len(), 1, "{field}");
        }
    }

    #[test]
    fn secrets_in_objects_are_found() {
        let labels = json!({NAME_LABEL: "shepherd"});
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "labels": labels}, "stringData": {"a": "b"},
        });
        assert_eq!(check_object(&secret), ["holds a secret in plain text"]);
        for (text, key) in [
            ("database:\n  password: x\n  host: db\n", "database.password"),
            ("database.password: x\n", "database.password"),
            (
                "security:\n  jwt_verification_keys: [x]\n  session_secret:\n",
                "security.jwt_verification_keys",
            ),
        ] {
            let configuration = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": labels},
                "data": {"config.yaml": text},
            });
            assert_eq!(
                check_object(&configuration),
                [format!("{key} of config.yaml belongs into a Secret")]
            );
        }
    }
}
