//! Builds through cargo that show what they are at and answer where the executables are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use cargo_metadata::{Artifact, Message};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdout};

use crate::progress::Step;
use crate::workspace::Workspace;

/// The executables of a build, by the names of their binary targets.
#[derive(Debug)]
pub(crate) struct Executables(BTreeMap<String, PathBuf>);

impl Executables {
    pub(crate) fn path(&self, name: &str) -> anyhow::Result<&Path> {
        let path = self
            .0
            .get(name)
            .with_context(|| format!("the build made no executable named {name}"))?;
        Ok(path)
    }
}

/// A compiled set of tests, to be run in the folder of its package.
#[derive(Debug)]
pub(crate) struct TestBinary {
    /// Package and target.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) package: PathBuf,
}

/// Runs `cargo build` with the given selection of packages and targets.
pub(crate) async fn build(workspace: &Workspace, selection: &[&str], step: &Step) -> anyhow::Result<Executables> {
    let artifacts = artifacts(workspace, &["build"], selection, step).await?;
    Ok(Executables(artifacts.iter().filter_map(executable).collect()))
}

/// Builds the tests of the selection and answers where they are.
pub(crate) async fn build_tests(
    workspace: &Workspace,
    selection: &[&str],
    step: &Step,
) -> anyhow::Result<Vec<TestBinary>> {
    let artifacts = artifacts(workspace, &["test", "--no-run"], selection, step).await?;
    Ok(artifacts.iter().filter_map(test_binary).collect())
}

async fn artifacts(
    workspace: &Workspace,
    command: &[&str],
    selection: &[&str],
    step: &Step,
) -> anyhow::Result<Vec<Artifact>> {
    let mut child = workspace
        .cargo()
        .args(command)
        .args(selection)
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run cargo build")?;
    let stdout = child.stdout.take().context("cargo's output")?;
    let stderr = child.stderr.take().context("cargo's diagnostics")?;
    let (artifacts, diagnostics) = tokio::try_join!(follow(stdout, step), collect(stderr))?;
    if !child.wait().await?.success() {
        bail!("the build failed:\n{diagnostics}");
    }
    Ok(artifacts)
}

/// Reads cargo's messages to their end, showing each crate as it is finished.
async fn follow(stdout: ChildStdout, step: &Step) -> anyhow::Result<Vec<Artifact>> {
    let mut lines = BufReader::new(stdout).lines();
    let mut artifacts = Vec::new();
    while let Some(line) = lines.next_line().await? {
        let Ok(Message::CompilerArtifact(artifact)) = serde_json::from_str(&line) else {
            continue;
        };
        step.detail(&format!("{} crates, {}", artifacts.len() + 1, artifact.target.name));
        artifacts.push(artifact);
    }
    Ok(artifacts)
}

fn test_binary(artifact: &Artifact) -> Option<TestBinary> {
    let path = artifact.executable.as_ref().filter(|_| artifact.profile.test)?;
    let package = artifact.manifest_path.parent()?;
    Some(TestBinary {
        name: format!("{} {}", package.file_name().unwrap_or_default(), artifact.target.name),
        path: path.clone().into_std_path_buf(),
        package: package.to_owned().into_std_path_buf(),
    })
}

/// The name and path of a binary; the test builds of a binary are not meant.
fn executable(artifact: &Artifact) -> Option<(String, PathBuf)> {
    let path = artifact.executable.as_ref()?;
    let is_binary = artifact.target.is_bin() && !artifact.profile.test;
    is_binary.then(|| (artifact.target.name.clone(), path.clone().into_std_path_buf()))
}

async fn collect(mut stderr: ChildStderr) -> anyhow::Result<String> {
    let mut text = Vec::new();
    stderr.read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
