//! `cargo xtask manifests`: whether what lies below `deploy/` is in order.
//!
//! - `objects`: Kubernetes objects, those of files and those the chart renders
//! - `release`: what the objects of one rendering have to do with each other
//! - `values`: the chart's values against their schema
//! - `refusals`: values that the chart must not take
//! - `monitoring`: alerts and dashboards against the metrics there are and the handbook
//! - `cluster`: what an API server says to all of it, without storing anything
//!
//! The chart is rendered by helm, and the alerts are tested by promtool. Without these programs that stays undone, and the
//! report says so.

mod cluster;
mod monitoring;
mod objects;
mod refusals;
mod release;
mod values;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::workspace::Workspace;

/// The chart, from the workspace root.
const CHART: &str = "deploy/helm/shepherd";
/// What the alerts are expected to say, from the workspace root.
const ALERT_TESTS: &str = "deploy/monitoring/alerts.test.yaml";
/// Folders of manifests that are applied as they are, from the workspace root.
const PLAIN: [&str; 2] = ["deploy/clusters", "deploy/postgresql"];

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Also ask the API server of this kubeconfig, by a dry run of every object
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Render the chart for this version of Kubernetes; an older server refuses what a newer one knows
    #[arg(long)]
    kube_version: Option<String>,
}

/// An object and the file or rendering it came from.
struct Manifest {
    origin: String,
    object: Value,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let mut manifests = plain(workspace.root())?;
    let rendered = render(workspace.root(), options.kube_version.as_deref()).await?;
    match &rendered {
        Some(rendered) => println!("helm rendered {} objects", rendered.len()),
        None => println!("helm is not installed: the templates of {CHART} were not rendered"),
    }
    let mut findings = Vec::new();
    if let Some(rendered) = rendered {
        findings.extend(release::check(&rendered));
        findings.extend(refusals::check(&workspace.root().join(CHART)).await?);
        manifests.extend(rendered);
    }
    match test_alerts(workspace.root()).await? {
        Some(_) => println!("promtool tested the alerts"),
        None => println!("promtool is not installed: the tests of the alerts were not run"),
    }
    println!("{} objects were read", manifests.len());
    findings.extend(check(workspace.root(), &manifests)?);
    if let Some(kubeconfig) = &options.kubeconfig {
        findings.extend(cluster::dry_run(kubeconfig, &manifests).await?);
    }
    for finding in &findings {
        println!("- {finding}");
    }
    if !findings.is_empty() {
        bail!("{} findings", findings.len());
    }
    println!("everything is in order");
    Ok(())
}

/// Everything that can be said without helm and without a cluster.
fn check(root: &Path, manifests: &[Manifest]) -> anyhow::Result<Vec<String>> {
    let mut findings = objects::check(manifests);
    findings.extend(values::check(&root.join(CHART))?);
    findings.extend(monitoring::check(root, &root.join(CHART).join("files"))?);
    Ok(findings)
}

/// The objects of the files that are applied as they are.
fn plain(root: &Path) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for folder in PLAIN {
        for file in files(&root.join(folder), "yaml")? {
            let origin = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            let text = fs::read_to_string(&file).with_context(|| format!("read {origin}"))?;
            manifests.extend(parse(&origin, &text)?);
        }
    }
    Ok(manifests)
}

/// The files of a folder with this ending, in their order.
fn files(folder: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut found = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("read {}", folder.display()))?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == ending));
    found.sort();
    Ok(found)
}

fn parse(origin: &str, text: &str) -> anyhow::Result<Vec<Manifest>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(text).with_context(|| format!("{origin} is no YAML"))?;
    let manifest = |object| Manifest {
        origin: origin.to_owned(),
        object,
    };
    Ok(objects.into_iter().map(manifest).collect())
}

/// What the chart renders with its own values and with each file of `ci/`, for an installation and for an upgrade; `None`
/// without helm.
async fn render(root: &Path, version: Option<&str>) -> anyhow::Result<Option<Vec<Manifest>>> {
    let chart = root.join(CHART);
    let mut manifests = Vec::new();
    let with = files(&chart.join("ci"), "yaml")?.into_iter().map(Some);
    for values in std::iter::once(None).chain(with) {
        for command in [
            &["lint", "--strict"][..],
            &["template", "shepherd", "--namespace", "shepherd"],
            &["template", "shepherd", "--namespace", "shepherd", "--is-upgrade"],
        ] {
            let mut arguments = command.to_vec();
            if let (true, Some(version)) = (command.contains(&"template"), version) {
                arguments.extend(["--kube-version", version]);
            }
            let Some(output) = helm(&arguments, &chart, values.as_deref()).await? else {
                return Ok(None);
            };
            if command.contains(&"template") {
                let name = values.as_deref().and_then(Path::file_name).unwrap_or_default();
                let what = if command.contains(&"--is-upgrade") {
                    "upgrade"
                } else {
                    "installation"
                };
                manifests.extend(parse(&format!("{CHART} {} {what}", name.display()), &output)?);
            }
        }
    }
    Ok(Some(manifests))
}

/// What helm says; `None` when it is not installed.
async fn helm(arguments: &[&str], chart: &Path, values: Option<&Path>) -> anyhow::Result<Option<String>> {
    let mut arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    arguments.push(chart.as_os_str());
    if let Some(values) = values {
        arguments.extend([OsStr::new("--values"), values.as_os_str()]);
    }
    tool("helm", &arguments).await
}

/// Whether Prometheus takes the alerts, and whether they say what their tests expect; `None` when promtool is not
/// installed.
async fn test_alerts(root: &Path) -> anyhow::Result<Option<String>> {
    let tests = root.join(ALERT_TESTS);
    let arguments = [OsStr::new("test"), OsStr::new("rules"), tests.as_os_str()];
    tool("promtool", &arguments).await
}

/// What a program of somebody else's says; `None` when it is not installed.
async fn tool(program: &str, arguments: &[&OsStr]) -> anyhow::Result<Option<String>> {
    let output = match Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
    {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("run {program}")),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let causes = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{program} {}: {said}{causes}",
            arguments.join(OsStr::new(" ")).display()
        );
    }
    Ok(Some(said))
}
