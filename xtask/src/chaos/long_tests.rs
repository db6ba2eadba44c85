//! The tests that take too long for every day, or more than every machine allows: those that are marked as ignored with a
//! reason that begins with `chaos`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

use crate::compile;
use crate::progress::Step;
use crate::workspace::Workspace;

/// Where they are: the tests against whole processes.
const BINARY: &str = "shepherd-app it";
/// Parts of their names. One at a time, because each has a database server of its own and stops it.
const ARGUMENTS: [&str; 5] = [
    "--ignored",
    "--test-threads=1",
    "--show-output",
    "database_faults::",
    "backups::",
];
/// The outcome of a test that failed.
const FAILED: &str = "FAILED";
/// What a test says that cannot do its work on this machine.
const SKIPPED: &str = "skipped:";

/// Runs them; answers the outcome of each by its name.
pub(super) async fn run(workspace: &Workspace) -> anyhow::Result<BTreeMap<String, String>> {
    let step = Step::begin("building the tests");
    let binaries = compile::build_tests(workspace, &["--workspace", "--all-targets"], &step).await?;
    let binary = binaries.iter().find(|binary| binary.name == BINARY);
    let binary = binary.with_context(|| format!("there are no tests named {BINARY}"))?;
    step.done("");
    let step = Step::begin("the tests that take long");
    let output = tokio::process::Command::new(&binary.path)
        .args(ARGUMENTS)
        .current_dir(&binary.package)
        .env("CARGO_MANIFEST_DIR", &binary.package)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("run {}", binary.path.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let outcomes = outcomes(&said);
    if outcomes.is_empty() || !output.status.success() {
        let causes = String::from_utf8_lossy(&output.stderr);
        eprintln!("{said}{causes}");
    }
    if outcomes.is_empty() {
        bail!("no test was run");
    }
    if !output.status.success() && outcomes.values().all(|outcome| outcome != FAILED) {
        bail!("the tests ended by themselves ({})", output.status);
    }
    step.done(&format!("{} tests", outcomes.len()));
    Ok(outcomes)
}

/// What became of each test; of those that did not do their work what they said.
fn outcomes(said: &str) -> BTreeMap<String, String> {
    let mut outcomes: BTreeMap<String, String> = said.lines().filter_map(outcome).collect();
    let mut about = None;
    for line in said.lines() {
        if let Some(name) = line.strip_prefix("---- ") {
            about = name.strip_suffix(" stdout ----");
        } else if let (true, Some(outcome)) = (line.starts_with(SKIPPED), about.and_then(|name| outcomes.get_mut(name)))
        {
            *outcome = line.to_owned();
        }
    }
    outcomes
}

/// The name and the outcome that a line of a test run tells.
fn outcome(line: &str) -> Option<(String, String)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name.to_owned(), outcome.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_tests_are_found_among_others() {
        let found = |line| outcome(line).map(|(name, outcome)| format!("{name}: {outcome}"));
        assert_eq!(found("test a::b ... ok").as_deref(), Some("a::b: ok"));
        assert_eq!(found("test a::c ... FAILED").as_deref(), Some("a::c: FAILED"));
        assert_eq!(found("test result: ok. 4 passed; 0 failed"), None);
        assert_eq!(found("running 4 tests"), None);
    }

    #[test]
    fn a_test_that_could_not_do_its_work_has_not_passed() {
        let said = "running 2 tests\ntest a::disk ... ok\ntest a::end ... ok\n\nsuccesses:\n\n\
                    ---- a::disk stdout ----\nskipped: it takes root\n\n---- a::end stdout ----\n12 done\n";
        let found = outcomes(said);
        assert_eq!(found["a::disk"], "skipped: it takes root");
        assert_eq!(found["a::end"], "ok");
    }
}
