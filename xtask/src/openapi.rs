//! `cargo xtask openapi`: the checked-in copy of the API description the binary serves.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::compile::{self, Executables};
use crate::progress::Step;
use crate::workspace::Workspace;

/// The document, from the workspace root.
const DOCUMENT: &str = "docs/openapi/v1.json";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Compare instead of writing, and fail when the document is stale
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let step = Step::begin("building shepherd");
    let built = compile::build(workspace, &["--workspace", "--bins"], &step).await?;
    step.done("");
    if options.check {
        return check(workspace, &built).await;
    }
    let document = describe(built.path("shepherd")?).await?;
    let path = workspace.root().join(DOCUMENT);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&path, document).with_context(|| format!("write {DOCUMENT}"))?;
    println!("wrote {DOCUMENT}");
    Ok(())
}

/// Fails when the checked-in document is not what this build serves.
pub(crate) async fn check(workspace: &Workspace, built: &Executables) -> anyhow::Result<()> {
    let served = describe(built.path("shepherd")?).await?;
    let checked_in = std::fs::read_to_string(workspace.root().join(DOCUMENT)).unwrap_or_default();
    match first_difference(&checked_in, &served) {
        None => Ok(()),
        Some(line) => bail!("{DOCUMENT} is stale from line {line} on; run `cargo xtask openapi` and commit it"),
    }
}

/// What `shepherd openapi` prints, ending in exactly one line break.
async fn describe(shepherd: &Path) -> anyhow::Result<String> {
    let output = Command::new(shepherd)
        .arg("openapi")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .context("run shepherd openapi")?;
    if !output.status.success() {
        bail!("shepherd openapi failed with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("the OpenAPI document is text")?;
    Ok(format!("{}\n", text.trim_end()))
}

/// The number of the first line that is not the same in both texts.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one
        .lines()
        .zip(other.lines())
        .take_while(|(one, other)| one == other)
        .count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("{\n}\n", "{\n}\n"), None);
        assert_eq!(first_difference("{\n}\n", "{\n \"a\": 1\n}\n"), Some(2));
        assert_eq!(first_difference("", "{}\n"), Some(1));
    }
}
