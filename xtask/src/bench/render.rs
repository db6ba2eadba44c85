//! What one document takes to render, and 1,000 sizes to validate after a schema changed.
//!
//! The adapter's own tests take the time, in a release build, because the documents are theirs.

use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::bed::Bed;
use super::figure::{Figure, Goal};
use crate::compile;
use crate::progress::Step;

const TESTS: [&str; 5] = ["--release", "--package", "shepherd-kubevirt", "--test", "it"];
const TEST: &str = "pace::rendering_and_validation_are_timed";
/// What stands before the figures in the output of the test.
const MARK: &str = "measured ";

pub(super) async fn measure(bed: &Bed<'_>, step: &Step) -> anyhow::Result<Vec<Figure>> {
    step.detail("building the tests of the adapter (release)");
    let binaries = compile::build_tests(bed.workspace(), &TESTS, step).await?;
    let binary = binaries.first().context("the adapter has no tests")?;
    step.detail("rendering and validating");
    let output = tokio::process::Command::new(&binary.path)
        .args(["--exact", TEST, "--ignored", "--nocapture"])
        .current_dir(&binary.package)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("run the tests of the adapter")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!(
            "the measurement failed:\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    figures(&said)
}

fn figures(said: &str) -> anyhow::Result<Vec<Figure>> {
    let measured = said.lines().find_map(|line| line.split_once(MARK));
    let (_, measured) = measured.with_context(|| format!("{TEST} measured nothing:\n{said}"))?;
    let measured: Value = serde_json::from_str(measured).context("read the figures")?;
    let number = |name: &str| measured[name].as_f64().with_context(|| format!("{name} is missing"));
    Ok(vec![
        Figure::new("render_p50", number("render_p50_us")?, "us", Goal::AtMost(200.0))
            .noted("every golden document many times, each render by itself, without writing YAML")
            .detailed(serde_json::json!({"renders": measured["renders"], "p99_us": measured["render_p99_us"]})),
        Figure::new("validate_1000_sizes", number("validation_s")?, "s", Goal::AtMost(5.0))
            .noted("read the schema, then check every override and the rendered machine of each size")
            .detailed(serde_json::json!({"sizes": measured["sizes"]})),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_found_in_the_output() {
        let said = "running 1 test\ntest pace::x ... \nmeasured {\"renders\": 10, \"render_p50_us\": 20.5, \
                    \"render_p99_us\": 40, \"sizes\": 1000, \"validation_s\": 0.5}\nok\n";
        let figures = figures(said).unwrap();
        let lines: Vec<String> = figures.iter().map(ToString::to_string).collect();
        assert!(
            lines[0].starts_with("render_p50") && lines[0].contains("20.500 us"),
            "{lines:?}"
        );
        assert!(lines.iter().all(|line| line.contains(" met")), "{lines:?}");
    }

    #[test]
    fn a_test_that_says_nothing_measured_nothing() {
        assert!(figures("running 0 tests\n").is_err());
    }
}
