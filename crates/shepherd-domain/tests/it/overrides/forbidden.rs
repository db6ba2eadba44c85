//! What is not a size's to set, in every spelling that might get through.

use serde_json::{Value, json};
use shepherd_domain::catalog::{SpecOverrides, SpecPath};

use super::{one, parse, parsed, reason};

#[test]
fn only_the_spec_can_be_set() {
    for path in [
        "metadata.labels.a",
        "metadata",
        "kind",
        "apiVersion",
        "status.ready",
        "Spec.a",
        "SPEC",
        "spec-a",
        "['spec.a']",
        "a.spec",
    ] {
        assert_eq!(reason(&one(path, json!("x"))), "not_spec", "{path}");
        assert_eq!(reason(&one(path, json!({"a": "x"}))), "not_spec", "{path}");
    }
}

#[test]
fn what_the_platform_owns_is_refused_however_it_is_spelt() {
    let cases: Vec<(Value, &str)> = vec![
        (json!({"spec.runStrategy": "Halted"}), "platform_owned"),
        (json!({"spec.RunStrategy": "Halted"}), "platform_owned"),
        (json!({"spec['runStrategy']": "Halted"}), "platform_owned"),
        (json!({"[\"spec\"].runstrategy": "Halted"}), "platform_owned"),
        (json!({"spec": {"runStrategy": "Halted"}}), "platform_owned"),
        (json!({"spec": {"RUNSTRATEGY": {"a": 1}}}), "platform_owned"),
        (json!({"spec.runStrategy": {}}), "platform_owned"),
        (json!({"spec.runStrategy[0]": "Halted"}), "platform_owned"),
        (json!({"spec.running": false}), "platform_owned"),
        (json!({"spec": {"running": true}}), "platform_owned"),
        (json!({"spec.template.metadata": {}}), "platform_owned"),
        (json!({"spec.template.metadata.labels['app']": "x"}), "platform_owned"),
        (
            json!({"spec": {"template": {"Metadata": {"annotations": {"a/b": "c"}}}}}),
            "platform_owned",
        ),
        (
            json!({"spec": {"template.metadata": {"labels": {"a": "b"}}}}),
            "platform_owned",
        ),
        (json!({"spec['template.metadata']": 1}), "platform_owned"),
        (json!({"spec['template.metadata.labels'].a": 1}), "platform_owned"),
        (json!({"spec.dataVolumeTemplates": []}), "platform_owned"),
        (json!({"spec.dataVolumeTemplates[0].spec.storage": 1}), "platform_owned"),
        (
            json!({"spec": {"datavolumetemplates": [{"metadata": {"name": "x"}}]}}),
            "platform_owned",
        ),
        (json!({"spec.dataVolumeTemplates[name=x]": {}}), "platform_owned"),
        (json!({"spec.template.spec.hostname": "x"}), "platform_owned"),
        (json!({"spec.template.spec": {"HostName": "x"}}), "platform_owned"),
        (
            json!({"spec.template.spec.volumes[name=root].emptyDisk.capacity": "1Gi"}),
            "platform_owned",
        ),
        (json!({"spec.template.spec.volumes[name=Root]": {}}), "platform_owned"),
        (
            json!({"spec.template.spec.Volumes[name=data]": {"a": 1}}),
            "platform_owned",
        ),
        (json!({"spec.template.spec.volumes[name=cloudinit]": {}}), "cloud_init"),
        (
            json!({"spec.template.spec.volumes[name=x].cloudInitNoCloud.userData": "x"}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.volumes[name=x]": {"cloudInitConfigDrive": {}}}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.volumes[name=x].CLOUDINITNOCLOUD": {}}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.volumes[0]": {"cloud-init": 1}}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.volumes": [{"cloudInitNoCloud": {"userData": "x"}}]}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.Volumes": [{"name": "a"}, {"x": [{"cloudinitnocloud": 1}]}]}),
            "cloud_init",
        ),
        (
            json!({"spec.a": [[{"b": [{"cloudInitConfigDrive": {}}]}]]}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.domain.devices.disks[name=cloudinit].disk.bus": "sata"}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.volumes[name=x].secret.volumeLabel": "cidata"}),
            "cloud_init",
        ),
        (
            json!({"spec.template.spec.volumes[name=x]": {"configMap": {"volumelabel": "CIDATA"}}}),
            "cloud_init",
        ),
        (
            json!({"spec.a": [{"secret": {"volumeLabel": "config-2"}}]}),
            "cloud_init",
        ),
        (json!({"spec.template.spec.volumes": []}), "platform_list"),
        (json!({"spec.template.spec.volumes": "none"}), "platform_list"),
        (json!({"spec.template.spec.volumes": {}}), "platform_list"),
        (json!({"spec.template.spec.volumes.a": 1}), "platform_list"),
        (json!({"spec.template.spec.volumes[0].name": "x"}), "platform_list"),
        (json!({"spec.template.spec.volumes[9]": {"name": "x"}}), "platform_list"),
        (
            json!({"spec": {"template": {"spec": {"volumes": [{"name": "x"}]}}}}),
            "platform_list",
        ),
        (
            json!({"spec['template.spec'].volumes": [{"name": "x"}]}),
            "platform_list",
        ),
        (json!({"spec.template.spec.domain.devices.disks": []}), "platform_list"),
        (
            json!({"spec.template.spec.domain.devices.disks[0].disk.bus": "sata"}),
            "platform_list",
        ),
        (json!({"spec": 1}), "platform_object"),
        (json!({"spec": []}), "platform_object"),
        (json!({"spec": {}}), "platform_object"),
        (json!({"spec[0]": 1}), "platform_object"),
        (json!({"spec[name=template].a": 1}), "platform_object"),
        (json!({"spec.template": []}), "platform_object"),
        (json!({"spec.template": "x"}), "platform_object"),
        (json!({"spec.Template": false}), "platform_object"),
        (json!({"spec.template[0].spec": 1}), "platform_object"),
        (json!({"spec.template.spec": 1}), "platform_object"),
        (json!({"spec.template.spec[name=domain].cpu": 1}), "platform_object"),
        (
            json!({"spec": {"template": {"spec": {"domain": []}}}}),
            "platform_object",
        ),
        (json!({"spec.template.spec.domain.devices": {}}), "platform_object"),
        (
            json!({"spec.template.spec.domain.resources.limits": 1}),
            "platform_object",
        ),
        (
            json!({"spec.template.spec.domain.resources.limits.cpu": "64"}),
            "use_column",
        ),
        (
            json!({"spec.template.spec.domain.resources.limits['CPU']": "64"}),
            "use_column",
        ),
        (
            json!({"spec.template.spec.domain.resources": {"limits": {"memory": "64Gi"}}}),
            "use_column",
        ),
        (
            json!({"spec.template.spec.domain.resources.requests.cpu": 1}),
            "use_column",
        ),
        (
            json!({"spec.template.spec.domain.resources.requests.cpu": {"a": 1}}),
            "use_column",
        ),
    ];
    for (overrides, expected) in cases {
        assert_eq!(reason(&overrides), expected, "{overrides}");
    }
}

#[test]
fn what_is_beside_it_is_a_sizes_to_set() {
    for overrides in [
        json!({"spec.runStrategyHint": 1}),
        json!({"spec.updateVolumesStrategy": "Migration"}),
        json!({"spec.template.spec.subdomain": "x"}),
        json!({"spec.template.spec.hostnames": 1}),
        json!({"spec.template.spec.affinity": {"nodeAffinity": {}}}),
        json!({"spec.template.spec.nodeSelector['metadata.example.org/running']": "x"}),
        json!({"spec.template.spec.volumes[name=scratch].emptyDisk.capacity": "1Gi"}),
        json!({"spec.template.spec.volumes[name=x]": {"secret": {"volumeLabel": "keys"}}}),
        json!({"spec.template.spec.domain.devices.disks[name=root].disk.bus": "sata"}),
        json!({"spec.template.spec.domain.devices.interfaces": [{"name": "fast", "sriov": {}}]}),
        json!({"spec.template.spec.domain.devices.gpus[0]": {"name": "a", "deviceName": "b"}}),
        json!({"spec.template.spec.domain.resources.limits['nvidia.com/A10']": 1}),
        json!({"spec.template.spec.domain.resources.requests.memory": "1Gi"}),
        json!({"spec.template.spec.domain.cpu": {"model": "host-passthrough", "numa": {"guestMappingPassthrough": {}}}}),
    ] {
        parsed(&overrides);
    }
}

#[test]
fn an_entry_keeps_the_name_it_is_found_by() {
    let under = |rest: &str, value: Value| {
        one(
            &format!("spec.template.spec.domain.devices.interfaces[name=fast]{rest}"),
            value,
        )
    };
    for (overrides, expected) in [
        (under(".name", json!("slow")), "entry_renamed"),
        (under("['name']", json!("slow")), "entry_renamed"),
        (under("", json!({"name": "slow"})), "entry_renamed"),
        (under("", json!({"name": {"a": 1}})), "entry_renamed"),
        (under(".name[0]", json!("fast")), "entry_renamed"),
        (under("", json!("fast")), "entry_not_object"),
        (under("", json!([])), "entry_not_object"),
        (under("[0]", json!({"a": 1})), "entry_not_object"),
        (under("[name=x].a", json!(1)), "entry_not_object"),
    ] {
        assert_eq!(reason(&overrides), expected, "{overrides}");
    }
    parsed(&under("", json!({"name": "fast"})));
    parsed(&under("", json!({})));
}

#[test]
fn a_refusal_names_the_path_and_no_more_of_it_than_a_path_can_have() {
    let (path, _) = parse(&json!({"spec": {"template": {"spec": {"hostname": "x"}}}})).unwrap_err();
    assert_eq!(path, "spec.template.spec.hostname");
    let (path, _) = parse(&one(&"\u{e4}".repeat(10_000), json!(1))).unwrap_err();
    assert_eq!(path.chars().count(), SpecPath::MAX_BYTES);
    let problem = SpecOverrides::parse(
        json!({"spec.template.spec.domain.resources.requests.cpu": 1})
            .as_object()
            .unwrap(),
    );
    assert_eq!(problem.unwrap_err().params["column"], "cpu_request");
}
