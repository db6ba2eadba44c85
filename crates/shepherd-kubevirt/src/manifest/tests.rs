//! What is read out of a machine's object, and what is left out of it.

use serde_json::json;

use super::*;

fn machine(spec: Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "10", "generation": 3,
            "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "shop"},
            "annotations": {LAST_APPLIED: "{\"kind\": \"VirtualMachine\"}", "kept": "here"},
            "managedFields": [{"manager": "somebody"}], "finalizers": ["kubevirt.io/virtualMachineControllerFinalize"],
        },
        "spec": spec,
        "status": {"printableStatus": "Stopped"},
    }))
    .unwrap()
}

fn read(spec: Value) -> VmManifest {
    manifest(&machine(spec), None).unwrap()
}

fn domain(domain: Value) -> VmManifest {
    read(json!({"template": {"spec": {"domain": domain}}}))
}

#[test]
fn the_yaml_holds_what_is_wanted_and_no_more() {
    let found = read(json!({"runStrategy": "Halted"}));
    assert_eq!(
        found.yaml.trim_end(),
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata:\n  annotations:\n    kept: here\n  \
         labels:\n    app: shop\n  name: web\n  namespace: shop\nspec:\n  runStrategy: Halted"
    );
    assert_eq!(found.labels["app"], "shop");
    assert_eq!(found.vm.uid, "u-1");
}

#[test]
fn inline_cloud_init_data_is_not_passed_on() {
    let found = read(json!({"template": {"spec": {"volumes": [
        {"name": "a", "cloudInitNoCloud": {"userData": "hunter2", "secretRef": {"name": "kept"}}},
        {"name": "b", "cloudInitConfigDrive": {"networkDataBase64": "aHVudGVyMg=="}},
    ]}}}));
    assert!(!found.yaml.contains("hunter2") && !found.yaml.contains("aHVudGVyMg=="));
    assert!(found.yaml.contains(REDACTED) && found.yaml.contains("name: kept"));
}

#[test]
fn processors_are_counted_as_kubevirt_counts_them() {
    for (found, cores) in [
        (json!({"cpu": {"cores": 2, "sockets": 3, "threads": 2}}), Some(12)),
        (json!({"cpu": {"sockets": 4}}), Some(4)),
        (
            json!({"cpu": {"cores": 2}, "resources": {"limits": {"cpu": "8"}}}),
            Some(2),
        ),
        (
            json!({"resources": {"limits": {"cpu": "3"}, "requests": {"cpu": "500m"}}}),
            Some(3),
        ),
        (json!({"resources": {"requests": {"cpu": "1500m"}}}), Some(2)),
        (json!({"cpu": {"model": "host-passthrough"}}), Some(1)),
        (json!({}), Some(1)),
        (json!({"cpu": {"cores": 65_536, "sockets": 65_536}}), None),
    ] {
        assert_eq!(domain(found.clone()).cpu_cores, cores, "{found}");
    }
    let typed = read(json!({"instancetype": {"name": "large"}, "template": {"spec": {"domain": {}}}}));
    assert_eq!((typed.cpu_cores, typed.memory_mb), (None, None));
}

#[test]
fn memory_is_the_guests_or_else_what_is_asked_for() {
    for (found, memory) in [
        (
            json!({"memory": {"guest": "2Gi"}, "resources": {"requests": {"memory": "1Gi"}}}),
            Some(2_048),
        ),
        (
            json!({"resources": {"requests": {"memory": "512Mi"}, "limits": {"memory": "1Gi"}}}),
            Some(512),
        ),
        (json!({"resources": {"limits": {"memory": "1G"}}}), Some(954)),
        (json!({"memory": {"guest": "lots"}}), None),
        (json!({}), None),
    ] {
        assert_eq!(domain(found.clone()).memory_mb, memory, "{found}");
    }
}

#[test]
fn the_disk_is_the_first_one_that_a_template_makes() {
    let spec = |volume: Value, claim: Value| {
        json!({
            "dataVolumeTemplates": [{"metadata": {"name": "web-root"}, "spec": claim}],
            "template": {"spec": {
                "domain": {"devices": {"disks": [{"name": "first"}, {"name": "root"}]}},
                "volumes": [{"name": "root", "dataVolume": {"name": "web-root"}}, volume],
            }},
        })
    };
    let ephemeral = json!({"name": "first", "containerDisk": {"image": "fedora"}});
    let storage = json!({"storage": {
        "resources": {"requests": {"storage": "20Gi"}}, "storageClassName": "fast",
    }});
    let found = read(spec(ephemeral.clone(), storage));
    assert_eq!(
        (found.disk_gb, found.storage_class.as_deref()),
        (Some(20), Some("fast"))
    );

    let claim = json!({"pvc": {"resources": {"requests": {"storage": "10G"}}}});
    let found = read(spec(ephemeral, claim));
    assert_eq!((found.disk_gb, found.storage_class), (Some(10), None));

    let found = read(json!({"template": {"spec": {"domain": {"devices": {}}}}}));
    assert_eq!((found.disk_gb, found.storage_class), (None, None));
}
