//! `cargo xtask conformance`: the contract of the cluster adapter, against a cluster of yours.
//!
//! The cases are those that run against the simulator in every test run; a difference between the two is a bug in the
//! simulator or in the adapter. Each case makes a namespace of its own, named `contract-*`, and removes it. Cases that
//! need what the cluster does not have are skipped, and listed by what is missing.
//!
//! With `--least-privilege` the provider has the rights of `deploy/clusters` only; the kubeconfig that is given makes
//! its account, and arranges what the cases need. With `--each-right` every one of those rights is taken away in turn,
//! and some case has to fail for want of it.

mod each_right;
mod minimal;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use crate::workspace::Workspace;

/// The variable the test reads, and the test.
const KUBECONFIG_VARIABLE: &str = "SHEPHERD_CONFORMANCE_KUBECONFIG";
const ADMIN_VARIABLE: &str = "SHEPHERD_CONFORMANCE_ADMIN_KUBECONFIG";
const FIRST_FAILURE_VARIABLE: &str = "SHEPHERD_CONFORMANCE_FIRST_FAILURE";
const TEST: &str = "the_named_cluster_keeps_the_contract";
/// Where the table of cases stands, from the workspace root.
const TABLE: &str = "crates/shepherd-kubevirt/tests/it/contract.rs";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// A kubeconfig with inline credentials (`kubectl config view --raw --flatten --minify`)
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Make the account of deploy/clusters with that kubeconfig, and run the contract with the account's rights
    #[arg(long)]
    least_privilege: bool,
    /// Afterwards, take away one right after the other and see a case fail each time; takes minutes per right
    #[arg(long, requires = "least_privilege")]
    each_right: bool,
}

/// Every case, and what became of it.
type Outcomes = Vec<(String, Outcome)>;

/// How much of a run is shown, and how far it goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    /// Every case, and every word.
    Whole,
    /// Up to the first case that fails, in silence.
    UntilFailure,
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
    if options.least_privilege {
        let account = minimal::Account::make(workspace, &kubeconfig).await?;
        account.check_limits().await?;
        let outcomes = contract(workspace, account.kubeconfig(), &kubeconfig).await?;
        if options.each_right {
            each_right::run(workspace, &account, &kubeconfig, &outcomes).await?;
        }
        return Ok(());
    }
    contract(workspace, &kubeconfig, &kubeconfig).await.map(drop)
}

/// Runs the whole contract with the rights of one kubeconfig, arranged with those of another, and reports.
///
/// # Errors
/// When a case failed.
async fn contract(workspace: &Workspace, kubeconfig: &Path, administrator: &Path) -> anyhow::Result<Outcomes> {
    let outcomes = outcomes(workspace, kubeconfig, administrator, Run::Whole).await?;
    println!("\n{}", report(&outcomes));
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome == Outcome::Failed)
        .count();
    if failed > 0 {
        bail!("{failed} of {} cases failed", outcomes.len());
    }
    Ok(outcomes)
}

/// Runs the contract; answers what became of each case. Those after the last that was run count as passed.
async fn outcomes(
    workspace: &Workspace,
    kubeconfig: &Path,
    administrator: &Path,
    run: Run,
) -> anyhow::Result<Outcomes> {
    let table = std::fs::read_to_string(workspace.root().join(TABLE)).with_context(|| format!("read {TABLE}"))?;
    let cases = cases(&table);
    if cases.is_empty() {
        bail!("{TABLE} names no cases");
    }
    let mut cargo = workspace.cargo();
    match run {
        Run::Whole => cargo.env_remove(FIRST_FAILURE_VARIABLE),
        Run::UntilFailure => cargo.env(FIRST_FAILURE_VARIABLE, "1"),
    };
    let mut child = cargo
        .args(["test", "--package", "shepherd-kubevirt", "--test", "it"])
        .args(["--", "--exact", TEST, "--nocapture"])
        .env(KUBECONFIG_VARIABLE, kubeconfig)
        .env(ADMIN_VARIABLE, administrator)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run cargo test")?;
    let stdout = child.stdout.take().context("the output of the test")?;
    let stderr = child.stderr.take().context("the words of the test")?;
    let (_, said) = tokio::try_join!(follow(stdout, run), follow(stderr, run))?;
    let passed = child.wait().await?.success();
    let failed = failed_cases(&said);
    if !passed && failed.is_none() {
        let words = if run == Run::Whole {
            "their words are above".to_owned()
        } else {
            said.join("\n")
        };
        bail!("the cases could not be run: {words}");
    }
    let failed = failed.unwrap_or_default();
    let judged = cases.into_iter().map(|case| {
        let outcome = outcome(&case, &said, &failed);
        (case, outcome)
    });
    Ok(judged.collect())
}

/// What passed and what failed, then what was skipped, by reason, then how many of each.
fn report(outcomes: &[(String, Outcome)]) -> String {
    let mut lines = String::new();
    let mut skipped: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let (mut passed, mut failed) = (0, 0);
    for (case, outcome) in outcomes {
        match outcome {
            Outcome::Passed => {
                passed += 1;
                let _ = writeln!(lines, "passed   {case}");
            }
            Outcome::Failed => {
                failed += 1;
                let _ = writeln!(lines, "FAILED   {case}");
            }
            Outcome::Skipped(reason) => skipped.entry(reason).or_default().push(case),
        }
    }
    for (reason, cases) in &skipped {
        let _ = writeln!(
            lines,
            "\nskipped, because {reason}:\n         {}",
            cases.join("\n         ")
        );
    }
    let skipped: usize = skipped.values().map(Vec::len).sum();
    let _ = write!(lines, "\n{passed} passed, {skipped} skipped, {failed} failed");
    lines
}

/// Keeps every line, and shows it as it comes when all is to be seen.
async fn follow(output: impl AsyncRead + Unpin, run: Run) -> anyhow::Result<Vec<String>> {
    let mut lines = BufReader::new(output).lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.next_line().await? {
        if run == Run::Whole {
            eprintln!("{line}");
        }
        seen.push(line);
    }
    Ok(seen)
}

/// The names in `cases![Need|Need module::name, ...]`, in their order.
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
        let table = "const CASES: &[Case] = cases![\n    Api a::one,\n    Controllers|Clones b::two,\n];\n";
        assert_eq!(cases(table), ["one", "two"]);
    }

    #[test]
    fn the_table_of_the_contract_is_understood() {
        let table = include_str!("../../crates/shepherd-kubevirt/tests/it/contract.rs");
        let cases = cases(table);
        assert!(cases.len() >= 60, "{cases:?}");
        assert!(cases.iter().all(|case| table.contains(&format!("::{case}"))));
    }

    #[test]
    fn the_report_lists_what_was_skipped_by_reason() {
        let cases = ["one", "two", "three", "four", "five"].map(str::to_owned);
        let skipped = |reason: &str| Outcome::Skipped(reason.to_owned());
        let outcomes = [
            Outcome::Passed,
            skipped("no KubeVirt"),
            skipped("no clones"),
            Outcome::Failed,
            skipped("no KubeVirt"),
        ];
        let outcomes: Vec<(String, Outcome)> = cases.into_iter().zip(outcomes).collect();
        let report = report(&outcomes);
        assert!(report.starts_with("passed   one\nFAILED   four\n"), "{report}");
        assert!(report.contains("skipped, because no KubeVirt:\n         two\n         five\n"));
        assert!(report.contains("skipped, because no clones:\n         three\n"));
        assert!(report.ends_with("\n1 passed, 3 skipped, 1 failed"));
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
