//! The files of `seed/` are what the rules of the domain accept and the specification lists.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;
use shepherd_domain::access::{BuiltInRole, Permission};
use shepherd_domain::catalog::{ImageSource, SizeDraft, TemplateSpec};
use shepherd_domain::ids::InstanceSizeId;
use strum::IntoEnumIterator;

const ROLES: &str = include_str!("../../../../seed/roles.yaml");
const TEMPLATES: &str = include_str!("../../../../seed/templates.yaml");
const SIZES: &str = include_str!("../../../../seed/instance_sizes.yaml");

/// Name and permissions of the built-in roles by access.md §4.
const BUILT_IN: [(&str, &str, &str); 6] = [
    ("role-bootstrap", "Bootstrap", "platform:admin"),
    ("role-platform-admin", "PlatformAdmin", "platform:admin"),
    (
        "role-system-admin",
        "SystemAdmin",
        "system:read system:write system:delete service:read service:create service:delete vm:read vm:create vm:modify \
         vm:operate vm:delete vm:snapshot vm:migrate vnc:access rbac:manage",
    ),
    (
        "role-approver",
        "Approver",
        "approval:view approval:approve system:read service:read vm:read",
    ),
    (
        "role-operator",
        "Operator",
        "system:read system:write service:read service:create vm:read vm:create vm:modify vm:operate vnc:access",
    ),
    ("role-viewer", "Viewer", "system:read service:read vm:read"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Role {
    key: String,
    name: String,
    display_name: String,
    description: String,
    permissions: Vec<Permission>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    name: String,
    display_name: String,
    description: String,
    category: String,
    os_family: String,
    os_version: String,
    spec: Value,
}

#[test]
fn the_roles_are_the_built_in_ones_with_their_permissions() {
    let roles: Vec<Role> = serde_saphyr::from_str(ROLES).unwrap();
    let known: BTreeSet<&str> = BuiltInRole::iter().map(BuiltInRole::key).collect();
    assert_eq!(
        roles.iter().map(|role| role.key.as_str()).collect::<BTreeSet<_>>(),
        known
    );
    assert_eq!(roles.len(), BUILT_IN.len());
    for (key, name, permissions) in BUILT_IN {
        let role = roles.iter().find(|role| role.key == key).unwrap();
        assert_eq!(role.name, name);
        let listed: Vec<&str> = role.permissions.iter().map(|permission| permission.as_str()).collect();
        assert_eq!(listed, permissions.split_whitespace().collect::<Vec<_>>(), "{key}");
        assert!(!role.display_name.is_empty() && !role.description.is_empty(), "{key}");
    }
}

#[test]
fn every_template_is_one_the_domain_accepts() {
    let documents: Vec<Document> = serde_saphyr::from_str(TEMPLATES).unwrap();
    let names: BTreeSet<&str> = documents.iter().map(|document| document.name.as_str()).collect();
    assert_eq!(
        names,
        BTreeSet::from(["debian-12", "fedora-42", "rocky-9", "ubuntu-24-04"])
    );
    assert_eq!(names.len(), documents.len());
    for document in &documents {
        assert_eq!(
            (document.api_version.as_str(), document.kind.as_str()),
            ("shepherd/v1", "Template")
        );
        for text in [
            &document.display_name,
            &document.description,
            &document.category,
            &document.os_family,
            &document.os_version,
        ] {
            assert!(!text.is_empty(), "{}", document.name);
        }
        let spec = TemplateSpec::parse(&document.spec).unwrap();
        let imported = matches!(spec.image_source, ImageSource::DataVolume(_));
        assert_eq!(imported, document.name == "rocky-9");
    }
}

#[test]
fn every_template_starts_the_guest_agent() {
    let documents: Vec<Document> = serde_saphyr::from_str(TEMPLATES).unwrap();
    for document in documents {
        let spec = TemplateSpec::parse(&document.spec).unwrap();
        let user_data = spec.cloud_init.and_then(|init| init.user_data).unwrap();
        assert!(user_data.starts_with("#cloud-config\n"), "{}", document.name);
        let config: Value = serde_saphyr::from_str(&user_data).unwrap();
        assert_eq!(config["packages"], serde_json::json!(["qemu-guest-agent"]));
        assert_eq!(
            config["runcmd"],
            serde_json::json!([["systemctl", "enable", "--now", "qemu-guest-agent.service"]])
        );
        assert!(
            config.get("password").is_none() && config.get("chpasswd").is_none(),
            "{}",
            document.name
        );
    }
}

#[test]
fn every_size_is_one_the_domain_accepts() {
    let drafts: Vec<SizeDraft> = serde_saphyr::from_str(SIZES).unwrap();
    let mut capabilities = BTreeMap::new();
    let mut orders = BTreeSet::new();
    for (bits, draft) in (1..).zip(drafts) {
        let size = draft.into_size(InstanceSizeId::from_bits(bits)).unwrap();
        assert!(size.enabled && size.min_disk_gb == 10, "{}", size.name);
        assert!(orders.insert(size.sort_order), "{} has the place of another", size.name);
        let overcommitted = size.cpu_request.is_some() || size.memory_request_mb.is_some();
        assert_eq!(overcommitted, size.name == "burst", "{}", size.name);
        capabilities.insert(size.name, size.capabilities.join(","));
    }
    let expected = BTreeMap::from([
        ("small", ""),
        ("medium", ""),
        ("large", ""),
        ("xlarge", ""),
        ("burst", ""),
        ("gpu-a10", "gpu:nvidia.com/A10"),
        ("hugepages", "hugepages:2mi"),
    ]);
    let found: BTreeMap<&str, &str> = capabilities
        .iter()
        .map(|(name, keys): (&String, &String)| (name.as_str(), keys.as_str()))
        .collect();
    assert_eq!(found, expected);
}
