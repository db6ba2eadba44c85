//! The account with the fewest rights: made by the script that operators use, and asked what it may not do.
//!
//! A real cluster shows that the rights suffice, and that they end. That none is superfluous is shown on the simulator,
//! which serves everything that a cluster may offer (`shepherd-kubevirt`, `least_privilege`), and on a real cluster by
//! taking away one after the other (`each_right`).

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::workspace::Workspace;

/// The script, from the workspace root.
const SCRIPT: &str = "deploy/clusters/make-kubeconfig.sh";
/// Long enough for the contract on a slow cluster, and for one contract per right; the token ends by itself afterwards.
const LIFETIME: &str = "12h";

/// What the account must not be able to do, as words of `kubectl auth can-i`.
const FORBIDDEN: [&[&str]; 14] = [
    &["get", "secrets"],
    &["list", "secrets"],
    &["delete", "secrets"],
    &["create", "pods"],
    &["get", "pods", "--subresource=exec"],
    &["delete", "namespaces"],
    &["patch", "namespaces"],
    &["delete", "persistentvolumeclaims"],
    &["get", "nodes"],
    &["patch", "kubevirts.kubevirt.io"],
    &["patch", "virtualmachineinstances.kubevirt.io"],
    &["list", "customresourcedefinitions.apiextensions.k8s.io"],
    &["create", "clusterrolebindings.rbac.authorization.k8s.io"],
    &["impersonate", "users"],
];

/// An account with the rights of `deploy/clusters` only.
pub(super) struct Account {
    kubeconfig: PathBuf,
}

impl Account {
    /// Makes the account with the rights of an administrator, and keeps its kubeconfig where the build directory is.
    pub(super) async fn make(workspace: &Workspace, administrator: &Path) -> anyhow::Result<Self> {
        let made = Command::new(workspace.root().join(SCRIPT))
            .args(["--duration", LIFETIME])
            .env("KUBECONFIG", administrator)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .with_context(|| format!("run {SCRIPT}"))?;
        if !made.status.success() {
            bail!("{SCRIPT} could not make the account; its words are above");
        }
        let folder = workspace.scratch().join("conformance");
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let kubeconfig = folder.join("least-privilege.yaml");
        write_privately(&kubeconfig, &made.stdout)?;
        Ok(Self { kubeconfig })
    }

    /// Where the account's kubeconfig lies.
    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Asks the cluster about everything that must be forbidden.
    ///
    /// # Errors
    /// When any of it is allowed, or the cluster cannot be asked.
    pub(super) async fn check_limits(&self) -> anyhow::Result<()> {
        let mut allowed = Vec::new();
        for words in FORBIDDEN {
            if self.may(words).await? {
                allowed.push(words.join(" "));
            }
        }
        if allowed.is_empty() {
            println!("forbidden, as it has to be: {} of {}", FORBIDDEN.len(), FORBIDDEN.len());
            return Ok(());
        }
        bail!(
            "the account may do what no call of the product needs: {}",
            allowed.join(", ")
        )
    }

    async fn may(&self, words: &[&str]) -> anyhow::Result<bool> {
        let answer = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["auth", "can-i"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .await
            .context("run kubectl")?;
        verdict(&String::from_utf8_lossy(&answer.stdout))
            .with_context(|| format!("{}: {}", words.join(" "), String::from_utf8_lossy(&answer.stderr)))
    }
}

/// `kubectl` says yes or no, and no for any other reason by its exit code; only a word is an answer.
fn verdict(said: &str) -> anyhow::Result<bool> {
    match said.split_whitespace().next() {
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        Some(_) | None => bail!("kubectl did not answer"),
    }
}

/// Only its owner may read a token.
fn write_privately(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    // A file that is there keeps its mode, whatever the options say.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("make {}", path.display()))?;
    file.write_all(text)
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_word_is_an_answer() {
        assert!(verdict("yes\n").unwrap());
        assert!(!verdict("no\n").unwrap());
        assert!(!verdict("no - no RBAC policy matched\n").unwrap());
        assert!(verdict("").is_err());
        assert!(verdict("error: the server is away").is_err());
    }
}
