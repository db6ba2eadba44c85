//! The layers by themselves. Whole documents are looked at in `tests/it/rendering.rs`.

use proptest::prelude::*;
use shepherd_domain::catalog::{CloudInit, Guest, ImageSource, InstanceSize, SpecOverrides, TemplateSpec};
use shepherd_domain::ids::{EventId, InstanceSizeId, UserId, VmId};
use shepherd_domain::rendering::{Placement, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;

use super::*;

mod passwords;

struct Parts {
    identity: VmIdentity,
    template: TemplateSpec,
    size: InstanceSize,
    placement: Placement,
}

impl Parts {
    fn new() -> Self {
        Self {
            identity: VmIdentity {
                vm_id: VmId::from_bits(1),
                event_id: EventId::from_bits(2),
                name: "web-06".to_owned(),
                namespace: "prod".to_owned(),
                system: "shop".to_owned(),
                service: "web".to_owned(),
                instance: "06".to_owned(),
                ticket_number: "TKT-000123".to_owned(),
                created_by: UserId::from_bits(3),
                revision: 1,
            },
            template: TemplateSpec {
                image_source: ImageSource::ContainerDisk {
                    image: "fedora".to_owned(),
                    pull_policy: None,
                },
                cloud_init: Some(CloudInit {
                    user_data: Some("#cloud-config\nusers: []\n".to_owned()),
                    network_data: None,
                }),
                volumes: Vec::new(),
                networks: Vec::new(),
                guest: Guest::default(),
            },
            size: InstanceSize {
                id: InstanceSizeId::from_bits(4),
                name: "small".to_owned(),
                display_name: None,
                description: None,
                cpu_cores: 1,
                memory_mb: 1_024,
                disk_gb: 10,
                min_disk_gb: 10,
                max_disk_gb: 10,
                cpu_request: None,
                memory_request_mb: None,
                dedicated_cpu: false,
                requires_gpu: false,
                requires_sriov: false,
                requires_hugepages: false,
                hugepages_size: None,
                gpu_devices: Vec::new(),
                spec_overrides: SpecOverrides::default(),
                capabilities: Vec::new(),
                sort_order: 0,
                enabled: true,
            },
            placement: Placement::default(),
        }
    }

    fn input(&self) -> RenderInput<'_> {
        RenderInput {
            identity: &self.identity,
            template: &self.template,
            size: &self.size,
            numbers: EffectiveNumbers {
                cpu_cores: 1,
                cpu_request: 1,
                memory_mb: 1_024,
                memory_request_mb: 1_024,
                disk_gb: 10,
            },
            placement: &self.placement,
            run_strategy: "Always",
            guest_password: None,
        }
    }

    /// What is left of an object that somebody took over.
    fn claimed(&self, object: Value) -> Value {
        let input = self.input();
        platform::claim(object, &input, &storage::disks(&input))
    }

    fn rendered(&self) -> Value {
        KubeVirtRenderer.render(&self.input()).object
    }
}

#[test]
fn claiming_what_nobody_touched_changes_nothing() {
    let parts = Parts::new();
    assert_eq!(parts.claimed(parts.rendered()), parts.rendered());
}

#[test]
fn foreign_metadata_goes() {
    let parts = Parts::new();
    let mut object = parts.rendered();
    object["status"] = json!({"ready": true});
    object["metadata"]["labels"]["theirs"] = json!("yes");
    object["metadata"]["annotations"]["theirs"] = json!("yes");
    object["metadata"]["finalizers"] = json!(["theirs/stays"]);
    object["metadata"]["ownerReferences"] = json!([{"uid": "theirs"}]);
    object["metadata"]["generateName"] = json!("theirs-");
    object["spec"]["running"] = json!(true);
    object["spec"]["template"]["metadata"]["annotations"] = json!({"theirs": "yes"});
    object["spec"]["template"]["extra"] = json!(1);
    object["spec"]["dataVolumeTemplates"][0]["metadata"]["name"] = json!("theirs");
    assert_eq!(parts.claimed(object), parts.rendered());
}

#[test]
fn one_volume_initialises_the_guest() {
    let parts = Parts::new();
    let mut object = parts.rendered();
    let theirs = json!([
        {"name": "cloudinit", "cloudInitNoCloud": {"userData": "theirs"}},
        {"name": "theirs", "cloudInitConfigDrive": {"userData": "theirs"}},
        {"name": "root", "containerDisk": {"image": "fedora"}, "cloudInitNoCloud": {"userData": "theirs"}},
        {"name": "labelled", "configMap": {"name": "theirs", "volumeLabel": "CIDATA"}},
        {"name": "data", "dataVolume": {"name": "web-06-data"}},
    ]);
    object["spec"]["template"]["spec"]["volumes"] = theirs;
    object["spec"]["template"]["spec"]["domain"]["devices"]["disks"][2]["cdrom"] = json!({"bus": "sata"});
    let claimed = parts.claimed(object);
    let machine = &claimed["spec"]["template"]["spec"];
    assert_eq!(
        machine["volumes"],
        json!([
            {"name": "root", "containerDisk": {"image": "fedora"}},
            {"name": "labelled", "configMap": {"name": "theirs"}},
            {"name": "data", "dataVolume": {"name": "web-06-data"}},
            {"name": "cloudinit", "cloudInitNoCloud": {"secretRef": {"name": "web-06-cloudinit"}}},
        ])
    );
    let rendered = parts.rendered();
    assert_eq!(
        machine["domain"]["devices"]["disks"],
        rendered["spec"]["template"]["spec"]["domain"]["devices"]["disks"]
    );
}

#[test]
fn a_guest_that_is_not_initialised_gets_no_volume_for_it() {
    let mut parts = Parts::new();
    parts.template.cloud_init = None;
    parts.template.guest.initial_password = false;
    let mut object = parts.rendered();
    let volumes = object["spec"]["template"]["spec"]["volumes"].as_array_mut().unwrap();
    volumes.push(json!({"name": "theirs", "cloudInitNoCloud": {"userData": "theirs"}}));
    assert_eq!(parts.claimed(object), parts.rendered());
}

#[test]
fn nothing_but_what_is_owned_survives_of_a_ruin() {
    let parts = Parts::new();
    let rendered = parts.rendered();
    for ruin in [
        json!(null),
        json!("gone"),
        json!({"spec": [1]}),
        json!({"spec": {"template": {"spec": 7}}}),
    ] {
        let claimed = parts.claimed(ruin);
        assert_eq!(claimed["metadata"], rendered["metadata"]);
        assert_eq!(
            claimed["spec"]["dataVolumeTemplates"],
            rendered["spec"]["dataVolumeTemplates"]
        );
        assert_eq!(
            claimed["spec"]["template"]["spec"]["volumes"],
            rendered["spec"]["template"]["spec"]["volumes"]
        );
    }
}

#[test]
fn the_order_of_keys_does_not_matter() {
    let one = VmDocument {
        object: json!({"b": {"d": 1, "c": [{"f": 1, "e": 2}]}, "a": 1}),
        cloud_init: None,
    };
    let other = VmDocument {
        object: json!({"a": 1, "b": {"c": [{"e": 2, "f": 1}], "d": 1}}),
        cloud_init: None,
    };
    assert_eq!(KubeVirtRenderer.to_yaml(&one), KubeVirtRenderer.to_yaml(&other));
    assert_eq!(
        canonical(one.object).to_string(),
        r#"{"a":1,"b":{"c":[{"e":2,"f":1}],"d":1}}"#
    );
}

#[test]
fn later_layers_win() {
    let mut base = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
    lay(&mut base, json!({"a": {"b": 3}, "l": [4], "d": null}));
    assert_eq!(base, json!({"a": {"b": 3, "c": 2}, "l": [4], "d": null}));
}

fn anything() -> impl Strategy<Value = Value> {
    let key = "(spec|template|metadata|labels|volumes|name|cloudInitNoCloud|runStrategy|running|domain|[a-z]{1,3})";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever a layer might do, even one that the domain would never let through.
    #[test]
    fn what_is_owned_is_owned_again(theirs in anything()) {
        let parts = Parts::new();
        let rendered = parts.rendered();
        let mut object = rendered.clone();
        lay(&mut object, json!({"spec": theirs}));
        let claimed = parts.claimed(object);
        let (owned, now) = (&rendered["spec"], &claimed["spec"]);
        prop_assert_eq!(&claimed["metadata"], &rendered["metadata"]);
        prop_assert_eq!(&now["runStrategy"], &owned["runStrategy"]);
        prop_assert_eq!(&now["running"], &Value::Null);
        prop_assert_eq!(&now["dataVolumeTemplates"], &owned["dataVolumeTemplates"]);
        prop_assert_eq!(&now["template"]["metadata"], &owned["template"]["metadata"]);
        prop_assert_eq!(&now["template"]["spec"]["hostname"], &owned["template"]["spec"]["hostname"]);
        let volumes = now["template"]["spec"]["volumes"].as_array().unwrap();
        let initialising: Vec<&Value> = volumes.iter().filter(|volume| !volume["cloudInitNoCloud"].is_null()).collect();
        prop_assert_eq!(initialising, vec![&owned["template"]["spec"]["volumes"][2]]);
    }
}
