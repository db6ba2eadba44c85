//! `cargo xtask sbom`: what the binary is made of, as a CycloneDX document.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// The crate of the binary, from the workspace root.
const BINARY: &str = "crates/shepherd-app";
/// What the tool writes, beside the manifest of every member of the workspace.
const WRITTEN: &str = "shepherd.cdx.json";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to put it
    #[arg(long, default_value = "target/sbom/shepherd.cdx.json")]
    output: PathBuf,
}

/// Writes it with `cargo cyclonedx`, for the target of this machine and without what only tests need.
pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let found = workspace.cargo().args(["cyclonedx", "--version"]).output().await;
    if !found.is_ok_and(|output| output.status.success()) {
        bail!("cargo-cyclonedx is not installed; `cargo install --locked cargo-cyclonedx` adds it");
    }
    let manifest = workspace.root().join(BINARY).join("Cargo.toml");
    let arguments = [
        "cyclonedx",
        "--format",
        "json",
        "--no-build-deps",
        "--override-filename",
        "shepherd.cdx",
    ];
    let status = workspace
        .cargo()
        .args(arguments)
        .arg("--manifest-path")
        .arg(&manifest)
        .status()
        .await
        .context("run cargo cyclonedx")?;
    if !status.success() {
        bail!("cargo cyclonedx failed ({status})");
    }
    let output = workspace.root().join(&options.output);
    if let Some(directory) = output.parent() {
        std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    std::fs::rename(workspace.root().join(BINARY).join(WRITTEN), &output)
        .with_context(|| format!("move it to {}", output.display()))?;
    for other in written(workspace.root())?.iter().filter(|other| **other != output) {
        std::fs::remove_file(other).with_context(|| format!("remove {}", other.display()))?;
    }
    println!("{}", output.display());
    Ok(())
}

/// What the tool has written about the members of the workspace, at the root and up to two folders below it.
fn written(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in folders(root)? {
        found.extend(folders(&folder)?);
        found.push(folder);
    }
    let files = found.into_iter().map(|folder| folder.join(WRITTEN));
    Ok(files.filter(|file| file.is_file()).collect())
}

/// The folders in a folder.
fn folders(of: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(of).with_context(|| format!("read {}", of.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", of.display()))?;
        // Links lead elsewhere.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_any_manifest_is_found() {
        let root = tempfile::tempdir().unwrap();
        for member in ["xtask", "crates/one", "examples/two"] {
            std::fs::create_dir_all(root.path().join(member)).unwrap();
            std::fs::write(root.path().join(member).join(WRITTEN), "{}").unwrap();
        }
        assert_eq!(written(root.path()).unwrap().len(), 3);
    }
}
