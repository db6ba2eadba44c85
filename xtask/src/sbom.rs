//! `cargo xtask sbom`: what the binary is made of, as a CycloneDX document.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// Where the tool puts it: beside the manifest of the binary's crate.
const WRITTEN: &str = "crates/shepherd-app/shepherd.cdx.json";

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
    let manifest = workspace.root().join("crates/shepherd-app/Cargo.toml");
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
    std::fs::rename(workspace.root().join(WRITTEN), &output)
        .with_context(|| format!("move it to {}", output.display()))?;
    println!("{}", output.display());
    Ok(())
}
