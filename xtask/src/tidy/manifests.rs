//! Every crate inherits what stands once in the root manifest: version, edition, licence, lints, dependency versions.

use std::path::Path;

use anyhow::Context as _;
use toml_edit::{DocumentMut, Item, TableLike};

const INHERITED: [&str; 4] = ["version", "edition", "rust-version", "license"];
const DEPENDENCY_TABLES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// What one manifest decides by itself although the workspace has decided it.
pub(super) fn check(manifest: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(manifest).with_context(|| format!("read {}", manifest.display()))?;
    let found = problems_in(&text).with_context(|| format!("parse {}", manifest.display()))?;
    let name = manifest
        .parent()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok(found
        .into_iter()
        .map(|problem| format!("{name}/Cargo.toml: {problem}"))
        .collect())
}

fn problems_in(text: &str) -> anyhow::Result<Vec<String>> {
    let manifest: DocumentMut = text.parse()?;
    let mut problems = Vec::new();
    let package = manifest.get("package");
    for key in INHERITED {
        if !package.and_then(|package| package.get(key)).is_some_and(is_inherited) {
            problems.push(format!("write `{key}.workspace = true`"));
        }
    }
    if !manifest.get("lints").is_some_and(is_inherited) {
        problems.push("write `[lints]` with `workspace = true`".to_owned());
    }
    problems.extend(own_versions(manifest.as_table()));
    let targets = manifest.get("target").and_then(Item::as_table_like);
    for (_, target) in targets.into_iter().flat_map(|targets| targets.iter()) {
        problems.extend(target.as_table_like().into_iter().flat_map(own_versions));
    }
    Ok(problems)
}

/// The dependencies of a manifest, or of one `[target]` in it, that name their own version.
fn own_versions(table: &dyn TableLike) -> Vec<String> {
    let mut problems = Vec::new();
    for kind in DEPENDENCY_TABLES {
        let dependencies = table.get(kind).and_then(Item::as_table_like);
        for (name, dependency) in dependencies.into_iter().flat_map(|dependencies| dependencies.iter()) {
            if !is_inherited(dependency) {
                problems.push(format!("`{name}` in [{kind}] must come from [workspace.dependencies]"));
            }
        }
    }
    problems
}

fn is_inherited(item: &Item) -> bool {
    item.get("workspace").and_then(Item::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_ORDER: &str = r#"
        [package]
        name = "example"
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true

        [lints]
        workspace = true

        [dependencies]
        serde.workspace = true
        tokio = { workspace = true, features = ["process"] }
    "#;

    #[test]
    fn a_manifest_that_inherits_everything_is_in_order() {
        assert_eq!(problems_in(IN_ORDER).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_version_of_its_own_is_found_in_every_table() {
        let manifest = format!(
            "{IN_ORDER}\n[dev-dependencies]\ninsta = \"1\"\n[target.'cfg(unix)'.dependencies]\nnix = \"0.31\"\n"
        );
        assert_eq!(problems_in(&manifest).unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_inherited_is_named() {
        let problems = problems_in("[package]\nname = \"example\"\nversion = \"1.0.0\"\n").unwrap();
        assert_eq!(problems.len(), INHERITED.len() + 1);
    }
}
