//! A dry run: the API server validates, defaults and admits every object, and stores none.

use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::Manifest;

/// A namespace that every cluster has. Those of the objects need not exist, and are not made by a dry run.
const NAMESPACE: &str = "default";
/// How kubectl says that a cluster does not serve a kind.
const UNSERVED: [&str; 2] = [
    "no matches for kind",
    "the server could not find the requested resource",
];

/// What the API server refuses. Kinds it does not serve are named and are no findings.
pub(super) async fn dry_run(kubeconfig: &Path, manifests: &[Manifest]) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for Manifest { origin, object } in manifests {
        let what = format!(
            "{origin}: {} {}",
            object["kind"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default()
        );
        match refusal(kubeconfig, object).await? {
            None => println!("accepted {what}"),
            Some(why) if UNSERVED.iter().any(|words| why.contains(words)) => println!("skipped {what}: not served"),
            Some(why) => findings.push(format!("{what}: {}", why.trim())),
        }
    }
    Ok(findings)
}

/// Why the API server does not take an object; `None` when it does.
async fn refusal(kubeconfig: &Path, object: &Value) -> anyhow::Result<Option<String>> {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["apply", "--dry-run=server", "--validate=true", "--filename", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("run kubectl")?;
    let mut input = child.stdin.take().context("the input of kubectl")?;
    // What kubectl thinks of an input that it did not read to its end is in its answer.
    let _ = input.write_all(moved(object).to_string().as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await.context("run kubectl")?;
    let refused = !output.status.success();
    Ok(refused.then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The object, in a namespace that exists.
fn moved(object: &Value) -> Value {
    let mut moved = object.clone();
    if let Some(namespace) = moved.pointer_mut("/metadata/namespace") {
        *namespace = json!(NAMESPACE);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_outside_of_namespaces_stay_there() {
        let inside = json!({"metadata": {"name": "a", "namespace": "shepherd"}});
        assert_eq!(moved(&inside)["metadata"]["namespace"], NAMESPACE);
        let outside = json!({"metadata": {"name": "a"}});
        assert_eq!(moved(&outside), outside);
    }
}
