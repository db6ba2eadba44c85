//! The permission catalogue and its implications against access.md §3.

use std::collections::BTreeSet;

use proptest::prelude::*;
use shepherd_domain::access::{Permission, PermissionSet};
use strum::IntoEnumIterator;

/// Every key of the catalogue, area by area.
pub(crate) const CATALOGUE: [&str; 50] = [
    "system:read",
    "system:write",
    "system:delete",
    "service:read",
    "service:create",
    "service:delete",
    "vm:read",
    "vm:create",
    "vm:modify",
    "vm:operate",
    "vm:delete",
    "vm:snapshot",
    "vm:migrate",
    "vnc:access",
    "vnc:manage",
    "approval:view",
    "approval:approve",
    "approval:policy",
    "approval:external",
    "cluster:read",
    "cluster:write",
    "cluster:manage",
    "template:read",
    "template:write",
    "template:manage",
    "instance_size:read",
    "instance_size:write",
    "user:manage",
    "session:manage",
    "rbac:read",
    "rbac:manage",
    "auth_provider:read",
    "auth_provider:configure",
    "auth_provider:update",
    "auth_provider:delete",
    "auth_provider:manage",
    "auth_provider:sync",
    "auth_provider:mapping_create",
    "auth_provider:mapping_update",
    "auth_provider:mapping_delete",
    "rate_limit:manage",
    "audit:read",
    "audit:export",
    "audit:manage",
    "job:manage",
    "reconciler:manage",
    "adoption:manage",
    "notification:manage",
    "config:read",
    "platform:admin",
];

/// Everything a key gives, itself included, written out to the end.
pub(crate) fn given_by(key: &str) -> Vec<&str> {
    let implied: &[&str] = match key {
        "cluster:manage" => &["cluster:write", "cluster:read"],
        "cluster:write" => &["cluster:read"],
        "template:manage" => &["template:write", "template:read"],
        "template:write" => &["template:read"],
        "instance_size:write" => &["instance_size:read"],
        "rbac:manage" => &["rbac:read"],
        "approval:approve" | "approval:policy" => &["approval:view"],
        "audit:export" | "audit:manage" => &["audit:read"],
        "auth_provider:manage" => &[
            "auth_provider:read",
            "auth_provider:configure",
            "auth_provider:update",
            "auth_provider:delete",
            "auth_provider:sync",
            "auth_provider:mapping_create",
            "auth_provider:mapping_update",
            "auth_provider:mapping_delete",
        ],
        "platform:admin" => &CATALOGUE,
        other if other.starts_with("auth_provider:") => &["auth_provider:read"],
        _ => &[],
    };
    std::iter::once(key).chain(implied.iter().copied()).collect()
}

fn any_permissions() -> impl Strategy<Value = Vec<Permission>> {
    // `platform:admin` would drown everything else.
    let keys: Vec<Permission> = Permission::iter()
        .filter(|key| *key != Permission::PlatformAdmin)
        .collect();
    prop::sample::subsequence(keys, 0..6)
}

fn set(permissions: &[Permission]) -> PermissionSet {
    permissions.iter().copied().collect()
}

fn members(set: PermissionSet) -> BTreeSet<&'static str> {
    set.iter().map(Permission::as_str).collect()
}

#[test]
fn the_catalogue_is_complete_and_well_formed() {
    let keys: BTreeSet<&str> = Permission::iter().map(Permission::as_str).collect();
    assert_eq!(keys, BTreeSet::from(CATALOGUE));
    for key in CATALOGUE {
        let (area, verb) = key.split_once(':').unwrap();
        for word in [area, verb] {
            assert!(word.starts_with(|c: char| c.is_ascii_lowercase()), "{key}");
            assert!(
                word.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'),
                "{key}"
            );
        }
    }
}

#[test]
fn a_key_is_read_as_it_is_written() {
    for permission in Permission::iter() {
        assert_eq!(permission.as_str().parse::<Permission>().unwrap(), permission);
        let json = serde_json::to_value(permission).unwrap();
        assert_eq!(json, permission.as_str());
        assert_eq!(serde_json::from_value::<Permission>(json).unwrap(), permission);
    }
    for unknown in ["*", "vm:*", "*:*", "vm", "VM:READ", "vm:read ", "vm:fly"] {
        assert!(unknown.parse::<Permission>().is_err(), "{unknown}");
    }
}

#[test]
fn a_key_gives_itself_and_what_the_list_says() {
    for permission in Permission::iter() {
        let given: BTreeSet<&str> = given_by(permission.as_str()).into_iter().collect();
        assert_eq!(members(set(&[permission])), given, "{}", permission.as_str());
    }
}

#[test]
fn reading_is_what_ends_in_read() {
    assert!(PermissionSet::EMPTY.is_read_only());
    for permission in Permission::iter() {
        let given = given_by(permission.as_str());
        let expected = given.iter().all(|key| key.ends_with(":read"));
        assert_eq!(set(&[permission]).is_read_only(), expected, "{}", permission.as_str());
    }
}

proptest! {
    #[test]
    fn a_set_holds_what_its_keys_give_and_nothing_else(keys in any_permissions()) {
        let expected: BTreeSet<&str> = keys.iter().flat_map(|key| given_by(key.as_str())).collect();
        prop_assert_eq!(members(set(&keys)), expected);
        let reversed: Vec<Permission> = keys.iter().rev().copied().collect();
        prop_assert_eq!(set(&keys), set(&reversed));
    }

    #[test]
    fn union_and_cover_agree_with_the_members(a in any_permissions(), b in any_permissions()) {
        let (one, other) = (set(&a), set(&b));
        let all = one.union(other);
        prop_assert_eq!(members(all), &members(one) | &members(other));
        prop_assert!(all.covers(one) && all.covers(other));
        prop_assert_eq!(one.covers(other), members(other).is_subset(&members(one)));
        prop_assert!(set(&[Permission::PlatformAdmin]).covers(all));
    }
}
