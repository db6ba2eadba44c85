//! Documents as they are, and what holds for all of them.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use shepherd_domain::catalog::{CloudInit, TemplateSpec};
use shepherd_domain::labels;
use shepherd_domain::schema::VmSchema;

use crate::golden::{self, Golden, parsed, told};

fn golden(name: &str) -> Golden {
    let found = golden::all().into_iter().find(|golden| golden.name == name);
    found.expect("a golden document of this name")
}

fn machine(object: &Value) -> &Value {
    &object["spec"]["template"]["spec"]
}

#[test]
fn documents_are_as_they_were() {
    for golden in golden::all() {
        insta::assert_snapshot!(golden.name, golden.text());
    }
}

#[test]
fn every_document_has_a_name_of_its_own() {
    let all = golden::all();
    let names: HashSet<&str> = all.iter().map(|golden| golden.name).collect();
    assert_eq!(names.len(), all.len());
    assert!(all.len() >= 40, "{} documents", all.len());
}

#[test]
fn rendering_twice_is_byte_identical() {
    for golden in golden::all() {
        assert_eq!(golden.text(), golden.clone().text(), "{}", golden.name);
    }
}

#[test]
fn the_text_says_what_the_document_says() {
    use shepherd_ports::providers::VmRenderer as _;
    for golden in golden::all() {
        let document = golden.document();
        let text = shepherd_kubevirt::KubeVirtRenderer.to_yaml(&document);
        let read: Value = serde_saphyr::from_str(&text).expect("a document is YAML");
        assert_eq!(read, document.object, "{}", golden.name);
    }
}

#[test]
fn disks_have_volumes_and_data_volumes_have_templates() {
    let names = |list: &Value| -> Vec<String> {
        let entries = list.as_array().into_iter().flatten();
        entries
            .filter_map(|entry| entry["name"].as_str().map(str::to_owned))
            .collect()
    };
    for golden in golden::all() {
        let object = golden.object();
        let machine = machine(&object);
        let mut disks = names(&machine["domain"]["devices"]["disks"]);
        let mut volumes = names(&machine["volumes"]);
        disks.sort();
        volumes.sort();
        assert_eq!(disks, volumes, "{}", golden.name);
        let wanted = machine["volumes"].as_array().into_iter().flatten();
        let wanted: Vec<&str> = wanted
            .filter_map(|volume| volume["dataVolume"]["name"].as_str())
            .collect();
        let made = object["spec"]["dataVolumeTemplates"].as_array().into_iter().flatten();
        let made: Vec<&str> = made
            .filter_map(|template| template["metadata"]["name"].as_str())
            .collect();
        assert_eq!(wanted, made, "{}", golden.name);
    }
}

#[test]
fn the_schema_of_the_product_knows_what_it_renders() {
    let schema = VmSchema::baseline();
    // Overrides may name what a cluster knows and the product does not.
    let documents = golden::all()
        .into_iter()
        .filter(|golden| golden.size.spec_overrides.is_empty());
    for golden in documents {
        let findings = schema.check_document(&golden.object());
        let unknown: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
        if golden.name == golden::CHECKSUM {
            // Older versions do not know it, and it must not be dropped in silence.
            assert_eq!(unknown, ["spec.dataVolumeTemplates[0].spec.source.http.checksum"]);
        } else {
            assert!(unknown.is_empty(), "{}: {findings:?}", golden.name);
        }
    }
}

#[test]
fn labels_are_on_everything_that_is_made() {
    let document = golden("everything").document();
    let labels = &document.object["metadata"]["labels"];
    assert_eq!(labels[labels::MANAGED_BY], labels::MANAGER);
    assert_eq!(&document.object["spec"]["template"]["metadata"]["labels"], labels);
    let templates = document.object["spec"]["dataVolumeTemplates"].as_array();
    let templates = templates.expect("data volumes");
    assert!(templates.len() >= 4);
    assert!(
        templates
            .iter()
            .all(|template| template["metadata"]["labels"] == *labels)
    );
    let secret = document.cloud_init.as_ref().expect("a Secret");
    assert_eq!(&secret["metadata"]["labels"], labels);
}

#[test]
fn the_password_changes_the_secret_and_never_the_machine() {
    for golden in golden::all() {
        let mut without = golden.clone();
        without.guest_password = None;
        let (with, without) = (golden.document(), without.document());
        assert_eq!(with.object, without.object, "{}", golden.name);
        assert_eq!(
            with.cloud_init.is_some(),
            without.cloud_init.is_some(),
            "{}",
            golden.name
        );
        if let Some(password) = &golden.guest_password {
            let text = with.object.to_string();
            assert!(!text.contains(&password.hash), "{}", golden.name);
            let told = told(&with, "userdata").expect("user data");
            assert!(told.contains(&password.hash), "{}", golden.name);
            assert!(!text.contains("ssh_authorized_keys"), "{}", golden.name);
        }
    }
}

#[test]
fn a_password_nobody_asked_for_is_told_to_nobody() {
    let mut golden = golden("cloud_init_password");
    golden.template.guest.initial_password = false;
    let told = told(&golden.document(), "userdata").expect("user data");
    assert_eq!(Some(told), golden.template.cloud_init.and_then(|init| init.user_data));
}

#[test]
fn network_data_alone_still_comes_with_user_data() {
    let document = golden("cloud_init_network_data").document();
    assert_eq!(told(&document, "userdata").as_deref(), Some("#cloud-config\n"));
    let nothing = Golden::with("nothing", |golden| {
        golden.template.cloud_init = Some(CloudInit::default())
    });
    assert_eq!(nothing.document().cloud_init, None, "nothing to say, no Secret");
}

#[test]
fn hints_about_the_guest_decide_nothing() {
    assert_eq!(golden("os_hints").object(), Golden::plain("plain").object());
}

#[test]
fn requests_are_below_limits_only_where_that_was_approved() {
    let resources = |name: &str| machine(&golden(name).object())["domain"]["resources"].clone();
    let equal = |name: &str, resource: &str| {
        let resources = resources(name);
        resources["requests"][resource] == resources["limits"][resource]
    };
    assert!(!equal("overcommit_cpu", "cpu") && equal("overcommit_cpu", "memory"));
    assert!(equal("overcommit_memory", "cpu") && !equal("overcommit_memory", "memory"));
    assert!(!equal("overcommit_both", "cpu") && !equal("overcommit_both", "memory"));
    let mut dedicated = golden("dedicated_cpu");
    dedicated.numbers.cpu_request = 1;
    dedicated.numbers.memory_request_mb = 1_024;
    let object = dedicated.object();
    let resources = &machine(&object)["domain"]["resources"];
    assert_eq!(resources["requests"], resources["limits"]);
}

#[test]
fn the_first_attachment_is_the_sriov_one() {
    assert_eq!(
        machine(&golden("sriov").object())["domain"]["devices"]["interfaces"],
        json!([{"name": "default", "masquerade": {}}, {"name": "fast", "sriov": {}}, {"name": "slow", "bridge": {}}])
    );
}

#[test]
fn an_override_wins_over_the_size_and_loses_to_the_approver() {
    let object = golden("override_nested").object();
    assert_eq!(machine(&object)["domain"]["features"]["smm"]["enabled"], true);
    assert_eq!(
        machine(&object)["domain"]["cpu"]["cores"],
        4,
        "what stands beside it stays"
    );
    let object = golden("override_loses_to_the_approver").object();
    assert_eq!(object, Golden::plain("plain").object());
}

/// What the platform owns of a machine, wherever it stands.
fn owned(object: &Value) -> Value {
    let spec = &object["spec"];
    let volumes = spec["template"]["spec"]["volumes"].as_array().into_iter().flatten();
    let initialising: Vec<&Value> = volumes
        .filter(|volume| volume["name"] == "cloudinit" || volume.to_string().contains("cloudInit"))
        .collect();
    json!({
        "all": object.as_object().map(|map| map.keys().collect::<Vec<_>>()),
        "apiVersion": object["apiVersion"],
        "kind": object["kind"],
        "metadata": object["metadata"],
        "runStrategy": spec["runStrategy"],
        "running": spec["running"],
        "template": spec["template"].as_object().map(|map| map.keys().collect::<Vec<_>>()),
        "templateMetadata": spec["template"]["metadata"],
        "hostname": spec["template"]["spec"]["hostname"],
        "dataVolumes": spec["dataVolumeTemplates"],
        "cloudInit": initialising,
    })
}

/// Places that overrides may and may not reach, in spellings that are and are not paths.
const PLACES: [&str; 30] = [
    "spec",
    "spec.runStrategy",
    "spec.RunStrategy",
    "spec.running",
    "spec[\"runStrategy\"]",
    "metadata.labels",
    "apiVersion",
    "spec.template",
    "spec.template.metadata.labels",
    "spec[\"template.metadata\"]",
    "spec.dataVolumeTemplates[0].metadata.name",
    "spec.dataVolumeTemplates[name=x]",
    "spec.template.spec",
    "spec.template.spec.hostname",
    "spec.template.spec.subdomain",
    "spec.template.spec.domain",
    "spec.template.spec.domain.cpu.model",
    "spec.template.spec.domain.cpu.cores",
    "spec.template.spec.domain.memory.guest",
    "spec.template.spec.domain.resources.limits",
    "spec.template.spec.domain.devices.disks",
    "spec.template.spec.domain.devices.disks[name=cloudinit]",
    "spec.template.spec.domain.devices.disks[name=root].cache",
    "spec.template.spec.domain.devices.disks[1]",
    "spec.template.spec.volumes",
    "spec.template.spec.volumes[0].cloudInitNoCloud.userData",
    "spec.template.spec.volumes[name=cloudinit]",
    "spec.template.spec.volumes[name=extra]",
    "spec.template.spec.volumes[name=extra].configMap.volumeLabel",
    "spec.template.spec.tolerations[2].key",
];

/// Keys that mean something somewhere.
const KEYS: [&str; 16] = [
    "metadata",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "name",
    "namespace",
    "runStrategy",
    "running",
    "template",
    "spec",
    "dataVolumeTemplates",
    "volumes",
    "cloudInitNoCloud",
    "cloudInitConfigDrive",
    "userData",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0_i64..100).prop_map(Value::from),
        select(vec!["cloudinit", "cidata", "Always", "8Gi", "root", "theirs"]).prop_map(Value::from),
        Just(json!({})),
        Just(Value::Null),
    ]
}

fn tree() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec((select(KEYS.to_vec()), inner), 0..4).prop_map(|entries| {
                let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect())
            }),
        ]
    })
}

/// Overrides that the domain accepts, in the order in which they were thought of.
fn accepted() -> impl Strategy<Value = Vec<(String, Value)>> {
    let place = prop_oneof![
        3 => select(PLACES.to_vec()).prop_map(str::to_owned),
        2 => (select(PLACES.to_vec()), select(KEYS.to_vec())).prop_map(|(place, key)| format!("{place}.{key}")),
        1 => "spec\\.template\\.spec\\.[a-z]{1,8}(\\.[a-z]{1,8}|\\[[0-3]\\]|\\[name=[a-z]{1,4}\\]){0,3}",
    ];
    prop::collection::vec((place, tree()), 1..8).prop_map(|entries| {
        let mut kept: Vec<(String, Value)> = Vec::new();
        for entry in entries {
            let mut tried = kept.clone();
            tried.push(entry);
            if parsed(&tried.iter().cloned().collect()).is_some() {
                kept = tried;
            }
        }
        // The later of two entries under one key is the one that counts.
        let unique: Map<String, Value> = kept.into_iter().collect();
        unique.into_iter().collect()
    })
}

/// Objects and lists whose entries are said one by one mean the same, in whatever order.
fn rendered_with(base: &Golden, entries: &[(String, Value)]) -> Value {
    let map: Map<String, Value> = entries.iter().cloned().collect();
    let mut golden = base.clone();
    golden.size.spec_overrides = parsed(&map).expect("the overrides are allowed");
    golden.object()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_override_takes_over_what_the_platform_owns(entries in accepted()) {
        for base in [Golden::with("everything", golden::everything), Golden::plain("plain")] {
            let object = rendered_with(&base, &entries);
            prop_assert_eq!(owned(&object), owned(&base.object()));
        }
    }

    #[test]
    fn the_order_of_overrides_does_not_matter(
        (entries, shuffled) in accepted().prop_flat_map(|entries| {
            let shuffled = Just(entries.clone()).prop_shuffle();
            (Just(entries), shuffled)
        })
    ) {
        let base = Golden::with("everything", golden::everything);
        let (one, other) = (rendered_with(&base, &entries), rendered_with(&base, &shuffled));
        prop_assert_eq!(one.to_string(), other.to_string());
    }

    #[test]
    fn no_template_takes_over_what_the_platform_owns(
        place in select(vec!["", "image_source", "cloud_init", "guest", "volumes", "networks"]),
        key in select(KEYS.to_vec()),
        value in tree(),
        name in "[a-z.\\[\\]=-]{1,12}",
    ) {
        let mut spec = json!({
            "image_source": {"container_disk": {"image": "quay.io/containerdisks/fedora:42"}},
            "cloud_init": {"user_data": "#cloud-config\nmetadata: {}\n"},
            "volumes": [{"name": name, "empty_disk": {"size_gb": 1}}],
            "networks": [{"pod": {}}],
            "guest": {},
        });
        match place {
            "" => spec[key] = value,
            "volumes" | "networks" => spec[place][0][key] = value,
            other => spec[other][key] = value,
        }
        if let Ok(template) = TemplateSpec::parse(&spec) {
            let base = Golden::plain("plain");
            let mut golden = base.clone();
            golden.template = template;
            let (object, plain) = (golden.object(), base.object());
            for field in ["all", "apiVersion", "kind", "metadata", "runStrategy", "running", "template", "hostname"] {
                prop_assert_eq!(&owned(&object)[field], &owned(&plain)[field], "{}", field);
            }
            prop_assert_eq!(&owned(&object)["templateMetadata"], &owned(&plain)["templateMetadata"]);
            prop_assert_eq!(&owned(&object)["dataVolumes"], &owned(&plain)["dataVolumes"]);
            let volumes = machine(&object)["volumes"].as_array().map_or(0, Vec::len);
            prop_assert!(volumes <= 4, "one more, and the guest's initialisation");
        }
    }

    #[test]
    fn requests_never_exceed_limits(
        cores in 1_i32..64, request in 1_i32..64, memory in 1_i32..65_536, dedicated: bool,
    ) {
        let mut golden = Golden::plain("plain");
        golden.size.dedicated_cpu = dedicated;
        golden.numbers.cpu_cores = cores;
        golden.numbers.cpu_request = request;
        golden.numbers.memory_mb = memory;
        let object = golden.object();
        let resources = &machine(&object)["domain"]["resources"];
        let number = |part: &str, resource: &str| -> i64 {
            let text = resources[part][resource].as_str().unwrap_or_default();
            text.trim_end_matches("Mi").parse().expect("a number")
        };
        prop_assert!(number("requests", "cpu") <= number("limits", "cpu"));
        prop_assert!(number("requests", "memory") <= number("limits", "memory"));
    }
}

/// The shares of generated cases that say something; a generator whose overrides are all refused would prove nothing.
#[test]
fn the_generated_overrides_are_not_all_refused() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = accepted();
    let mut set = 0;
    for _ in 0..200 {
        let tree = strategy.new_tree(&mut runner).expect("a value");
        set += tree.current().len();
    }
    assert!(set >= 100, "{set} overrides in 200 cases");
}
