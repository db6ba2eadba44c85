//! `shepherd config check`.

use anyhow::bail;
use clap::Args;

use crate::config::explain::Report;
use crate::config::{ConfigError, Finding, Loaded, keys};

/// Options of `config check`.
#[derive(Args)]
pub(super) struct Options {
    /// All keys, those at their defaults too.
    #[arg(long)]
    all: bool,
    /// As JSON, for scripts.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(loaded: Result<Loaded, ConfigError>, options: &Options) -> anyhow::Result<()> {
    // What is not text cannot be one of ours with a slip in it.
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let report = match loaded {
        Ok(loaded) => Report::of(&loaded, options.all, &keys::stray_variables(names)),
        Err(error) => Report {
            findings: findings(error),
            ..Report::default()
        },
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    if report.valid {
        Ok(())
    } else {
        bail!("the configuration is invalid: {} findings", report.findings.len())
    }
}

fn findings(error: ConfigError) -> Vec<Finding> {
    let whole_file = |problem: String| Finding {
        key: "file".to_owned(),
        value: None,
        origin: None,
        problem,
    };
    match error {
        ConfigError::Findings(findings) => findings,
        error @ (ConfigError::Unreadable { .. } | ConfigError::Syntax { .. }) => vec![whole_file(error.to_string())],
    }
}

fn print(report: &Report) {
    for finding in &report.findings {
        println!("wrong: {finding}");
    }
    if !report.valid {
        return;
    }
    match &report.file {
        Some(file) => println!("file: {file}"),
        None => println!("file: none; defaults and environment only"),
    }
    for line in &report.keys {
        let origin = line.origin.as_deref().unwrap_or("default");
        println!("{} = {} ({origin}): {}", line.key, line.value, line.what);
    }
    for hint in &report.hints {
        println!("hint: {hint}");
    }
    println!("The configuration is valid.");
}
