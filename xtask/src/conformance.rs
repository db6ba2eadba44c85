//! `cargo xtask conformance`: the contract of the cluster adapter, against a cluster of yours.
//!
//! The cases are those that run against the simulator in every test run; a difference between the two is a bug in the
//! simulator or in the adapter. Each case makes a namespace of its own, named `contract-*`, and removes it.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use crate::workspace::Workspace;

/// The variable the test reads, and the test.
const KUBECONFIG_VARIABLE: &str = "SHEPHERD_CONFORMANCE_KUBECONFIG";
const TEST: &str = "the_named_cluster_keeps_the_contract";
/// Where the table of cases stands, from the workspace root.
const TABLE: &str = "crates/shepherd-kubevirt/tests/it/contract.rs";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A kubeconfig with inline credentials (`kubectl config view --raw --flatten --minify`)
    #[arg(long)]
    kubeconfig: PathBuf,
}

/// What became of a case.
#[derive(Debug, PartialEq)]
enum Outcome {
    Passed,
    Skipped(String),
    Failed,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    // The test runs in the directory of its crate.
    let kubeconfig = options
        .kubeconfig
        .canonicalize()
        .with_context(|| format!("find {}", options.kubeconfig.display()))?;
    let table = std::fs::read_to_string(workspace.root().join(TABLE)).with_context(|| format!("read {TABLE}"))?;
    let cases = cases(&table);
    if cases.is_empty() {
        bail!("{TABLE} names no cases");
    }
    let mut child = workspace
        .cargo()
        .args(["test", "--package", "shepherd-kubevirt", "--test", "it"])
        .args(["--", "--exact", TEST, "--nocapture"])
        .env(KUBECONFIG_VARIABLE, kubeconfig)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run cargo test")?;
    let stdout = child.stdout.take().context("the output of the test")?;
    let stderr = child.stderr.take().context("the words of the test")?;
    let (_, said) = tokio::try_join!(follow(stdout), follow(stderr))?;
    let passed = child.wait().await?.success();
    let failed = failed_cases(&said);
    if !passed && failed.is_none() {
        bail!("the cases could not be run; the output above says why");
    }
    let failed = failed.unwrap_or_default();
    println!();
    for case in &cases {
        match outcome(case, &said, &failed) {
            Outcome::Passed => println!("passed   {case}"),
            Outcome::Skipped(reason) => println!("skipped  {case}: {reason}"),
            Outcome::Failed => println!("FAILED   {case}"),
        }
    }
    if !failed.is_empty() {
        bail!("{} of {} cases failed", failed.len(), cases.len());
    }
    Ok(())
}

/// Shows every line as it comes, and keeps all of them.
async fn follow(output: impl AsyncRead + Unpin) -> anyhow::Result<Vec<String>> {
    let mut lines = BufReader::new(output).lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.next_line().await? {
        eprintln!("{line}");
        seen.push(line);
    }
    Ok(seen)
}

/// The names in `cases![Need module::name, ...]`, in their order.
fn cases(table: &str) -> Vec<String> {
    let after = table.split_once("= cases![").map_or("", |(_, after)| after);
    let list = after.split_once("];").map_or("", |(list, _)| list);
    list.split(',')
        .filter_map(|case| case.rsplit_once("::"))
        .map(|(_, name)| name.trim().to_owned())
        .collect()
}

fn outcome(case: &str, said: &[String], failed: &[String]) -> Outcome {
    if failed.iter().any(|name| name == case) {
        return Outcome::Failed;
    }
    let skipped = said.iter().find_map(|line| {
        let (name, reason) = line.strip_prefix("skipped ")?.split_once(": ")?;
        (name == case).then(|| reason.to_owned())
    });
    skipped.map_or(Outcome::Passed, Outcome::Skipped)
}

/// The names in `cases that failed: ["one", "another"]`; `None` when the test did not come that far.
fn failed_cases(said: &[String]) -> Option<Vec<String>> {
    let list = said
        .iter()
        .find_map(|line| line.split_once("cases that failed: ").map(|(_, list)| list))?;
    let names = list.split('"').skip(1).step_by(2);
    Some(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_cases_are_read_from_their_table() {
        let table = "const CASES: &[Case] = cases![\n    Api a::one,\n    Controllers b::two,\n];\n";
        assert_eq!(cases(table), ["one", "two"]);
    }

    #[test]
    fn the_table_of_the_contract_is_understood() {
        let table = include_str!("../../crates/shepherd-kubevirt/tests/it/contract.rs");
        let cases = cases(table);
        assert!(cases.len() > 10, "{cases:?}");
        assert!(cases.iter().all(|case| table.contains(&format!("::{case}"))));
    }

    #[test]
    fn every_case_has_an_outcome() {
        let said = lines("skipped two: no KubeVirt\nthread panicked:\ncases that failed: [\"three\", \"four\"]\n");
        let failed = failed_cases(&said).unwrap();
        assert_eq!(failed, ["three", "four"]);
        assert_eq!(outcome("one", &said, &failed), Outcome::Passed);
        assert_eq!(
            outcome("two", &said, &failed),
            Outcome::Skipped("no KubeVirt".to_owned())
        );
        assert_eq!(outcome("three", &said, &failed), Outcome::Failed);
        assert_eq!(failed_cases(&lines("error: could not compile")), None);
    }
}
