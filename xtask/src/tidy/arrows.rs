//! Which crate may know which: the arrows of docs/ARCHITECTURE.md, read from `cargo metadata`.
//!
//! Normal and build dependencies count; development dependencies do not, so tests may use the test kit.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, Metadata, Node, Package, PackageId};

/// What a crate of the workspace may depend on.
#[derive(Clone, Copy)]
enum Reach {
    /// These crates of the workspace.
    Only(&'static [&'static str]),
    /// Every crate: it is not part of the product.
    Anything,
}

const DOMAIN: &str = "shepherd-domain";

const ADAPTER: Reach = Reach::Only(&[DOMAIN, "shepherd-ports"]);
const STANDALONE: Reach = Reach::Only(&[]);

const ARROWS: [(&str, Reach); 19] = [
    (DOMAIN, STANDALONE),
    ("shepherd-ports", Reach::Only(&[DOMAIN])),
    ("shepherd-usecases", Reach::Only(&[DOMAIN, "shepherd-ports"])),
    (
        "shepherd-postgres",
        Reach::Only(&[DOMAIN, "shepherd-ports", "migrations"]),
    ),
    ("shepherd-kubevirt", ADAPTER),
    ("shepherd-identity", ADAPTER),
    ("shepherd-crypto", ADAPTER),
    ("shepherd-notify", ADAPTER),
    (
        "shepherd-app",
        Reach::Only(&[
            DOMAIN,
            "shepherd-ports",
            "shepherd-usecases",
            "shepherd-postgres",
            "shepherd-kubevirt",
            "shepherd-identity",
            "shepherd-crypto",
            "shepherd-notify",
            "shepherd-portal",
            "shepherd-simulator",
            "migrations",
        ]),
    ),
    ("shepherd-simulator", STANDALONE),
    ("shepherd-client", STANDALONE),
    ("shepherd-portal", STANDALONE),
    ("migrations", STANDALONE),
    // Examples show what somebody else's program needs, and no more.
    ("embedding-example", ADAPTER),
    (
        "notification-sender-example",
        Reach::Only(&[DOMAIN, "shepherd-ports", "shepherd-usecases", "shepherd-app"]),
    ),
    ("approval-handler-example", STANDALONE),
    ("walkthrough-example", STANDALONE),
    ("shepherd-testkit", Reach::Anything),
    ("xtask", Reach::Anything),
];

/// What the domain may not reach, however indirectly: IO, runtimes and frameworks.
const FORBIDDEN_IN_DOMAIN: [&str; 5] = ["sqlx", "sea-orm", "kube", "utoipa", "tokio"];
const FORBIDDEN_IN_DOMAIN_BY_PREFIX: [&str; 4] = ["sqlx-", "sea-orm-", "kube-", "actix"];

/// Every arrow that points the wrong way.
pub(super) fn check(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let members: BTreeSet<&str> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        problems.extend(wrong_arrows(package, &members));
    }
    problems.extend(what_the_domain_must_not_reach(metadata)?);
    Ok(problems)
}

fn wrong_arrows(package: &Package, members: &BTreeSet<&str>) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, reach)) = ARROWS.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{name}: say in xtask/src/tidy/arrows.rs what this crate may depend on"
        )];
    };
    let allowed = match reach {
        Reach::Anything => return Vec::new(),
        Reach::Only(allowed) => allowed,
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| is_built_in(dependency.kind))
        .map(|dependency| dependency.name.as_str())
        .filter(|dependency| members.contains(dependency) && !allowed.contains(dependency))
        .map(|dependency| format!("{name} must not depend on {dependency} (docs/ARCHITECTURE.md)"))
        .collect()
}

/// Walks the resolved dependencies of the domain.
fn what_the_domain_must_not_reach(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let resolve = metadata.resolve.as_ref().context("cargo metadata resolved nothing")?;
    let nodes: BTreeMap<&PackageId, &Node> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.as_str()))
        .collect();
    let mut waiting: Vec<(&PackageId, String)> = metadata
        .workspace_packages()
        .iter()
        .filter(|package| package.name.as_str() == DOMAIN)
        .map(|package| (&package.id, DOMAIN.to_owned()))
        .collect();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    while let Some((id, path)) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
        for dependency in dependencies.filter(|it| it.dep_kinds.iter().any(|kind| is_built_in(kind.kind))) {
            let name = names.get(&dependency.pkg).copied().unwrap_or_default();
            let path = format!("{path} -> {name}");
            if is_forbidden_in_domain(name) {
                problems.push(format!("the domain must not reach {name}: {path}"));
            }
            waiting.push((&dependency.pkg, path));
        }
    }
    Ok(problems)
}

fn is_forbidden_in_domain(name: &str) -> bool {
    FORBIDDEN_IN_DOMAIN.contains(&name)
        || FORBIDDEN_IN_DOMAIN_BY_PREFIX
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn is_built_in(kind: DependencyKind) -> bool {
    matches!(kind, DependencyKind::Normal | DependencyKind::Build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_know_neither_each_other_nor_what_uses_them() {
        let adapters = [
            "shepherd-postgres",
            "shepherd-kubevirt",
            "shepherd-identity",
            "shepherd-crypto",
            "shepherd-notify",
        ];
        for adapter in adapters {
            let (_, reach) = ARROWS.iter().find(|(name, _)| *name == adapter).unwrap();
            let Reach::Only(allowed) = reach else {
                panic!("{adapter} reaches everything");
            };
            for other in adapters.into_iter().chain(["shepherd-usecases", "shepherd-app"]) {
                assert!(!allowed.contains(&other), "{adapter} may depend on {other}");
            }
        }
    }

    #[test]
    fn the_domain_reaches_no_framework_under_any_name() {
        for name in ["tokio", "actix-web", "actix_rt", "kube-client", "sqlx-core", "sea-orm"] {
            assert!(is_forbidden_in_domain(name), "{name}");
        }
        assert!(!is_forbidden_in_domain("serde"));
    }
}
