//! `shepherd reconcile`.

use std::fmt::Write as _;

use anyhow::Context;
use clap::Args;
use shepherd_domain::reconciler::RunStatus;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::reconciler::FindingRecord;
use shepherd_usecases::reconciler::here::{self, Report};

use super::seed::refuse_pending;
use crate::bootstrap;
use crate::config::Config;
use crate::extensions::Extensions;

/// Options of `reconcile`.
#[derive(Args)]
pub(super) struct Options {
    /// Reports and changes nothing. Marking is asked for through the API, by somebody who holds reconciler:manage.
    #[arg(long)]
    dry_run: bool,
    /// Name of one cluster; otherwise all that are enabled.
    #[arg(long)]
    cluster: Option<String>,
}

/// Prints what was found; an error when that is anything, so that scripts notice.
pub(super) async fn run(config: &Config, extensions: &Extensions, options: Options) -> anyhow::Result<()> {
    anyhow::ensure!(
        options.dry_run,
        "only `shepherd reconcile --dry-run` is possible here; a run that marks is started by \
         `POST /api/v1/admin/reconciler/runs` with {{\"mode\": \"mark\"}}"
    );
    let store = bootstrap::connect(config).await?;
    refuse_pending(&store).await?;
    let wired = bootstrap::wire_with(config, store, extensions).await?;
    let report = here::execute(&wired.platform, options.cluster.as_deref())
        .await
        .context("the clusters cannot be compared")?;
    wired.store.close().await?;
    print!("{}", shown(&report));
    let run = &report.run;
    anyhow::ensure!(
        run.status == RunStatus::Completed && run.skipped.is_empty(),
        "the comparison is not complete"
    );
    let findings = report.ghosts.len() + report.orphans.len();
    anyhow::ensure!(findings == 0, "{findings} findings");
    Ok(())
}

/// The report for a person: clusters, ghosts and orphans, each as a table.
fn shown(report: &Report) -> String {
    let run = &report.run;
    let mut text = format!(
        "Run {}: {}, {} rows examined, {} ghosts, {} orphans\n",
        run.id, run.status, run.examined, run.ghosts, run.orphans
    );
    if let Some(error) = &run.error {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{error}");
    }
    let clusters = report.clusters.iter().map(|cluster| summary(report, cluster));
    table(
        &mut text,
        "Clusters",
        &["CLUSTER", "STATE", "GHOSTS", "ORPHANS"],
        clusters.collect(),
    );
    let ghosts = report.ghosts.iter().map(|finding| {
        let vm = finding.vm_id.map(|id| id.to_string()).unwrap_or_default();
        line(finding, [vm, detail(finding, "status")])
    });
    let header = ["CLUSTER", "NAMESPACE", "NAME", "ROW", "STATUS"];
    table(&mut text, "Ghosts (rows without object)", &header, ghosts.collect());
    let orphans = report
        .orphans
        .iter()
        .map(|finding| line(finding, [detail(finding, "reason"), detail(finding, "status")]));
    let header = ["CLUSTER", "NAMESPACE", "NAME", "REASON", "STATUS"];
    table(&mut text, "Orphans (objects without row)", &header, orphans.collect());
    text
}

fn summary(report: &Report, cluster: &ClusterRecord) -> Vec<String> {
    let skipped = report
        .run
        .skipped
        .iter()
        .find(|skipped| skipped.cluster_id == cluster.id);
    let state = match skipped {
        Some(skipped) => format!("skipped: {}", skipped.reason),
        None if report.run.halted_cluster_ids.contains(&cluster.id) => "halted: too many rows are missing".to_owned(),
        None => "compared".to_owned(),
    };
    let of = |findings: &[FindingRecord]| {
        let here = findings.iter().filter(|finding| finding.cluster_id == cluster.id);
        here.count().to_string()
    };
    vec![cluster.name.clone(), state, of(&report.ghosts), of(&report.orphans)]
}

fn line(finding: &FindingRecord, more: [String; 2]) -> Vec<String> {
    let cluster = match &finding.cluster_name {
        Some(name) => name.clone(),
        None => finding.cluster_id.to_string(),
    };
    let [third, fourth] = more;
    vec![cluster, finding.namespace.clone(), finding.name.clone(), third, fourth]
}

fn detail(finding: &FindingRecord, key: &str) -> String {
    finding.details[key].as_str().unwrap_or_default().to_owned()
}

/// Columns as wide as their widest cell.
fn table(text: &mut String, title: &str, header: &[&str], rows: Vec<Vec<String>>) {
    text.push('\n');
    text.push_str(title);
    text.push('\n');
    if rows.is_empty() {
        text.push_str("  none\n");
        return;
    }
    let head: Vec<String> = header.iter().map(ToString::to_string).collect();
    let mut widths = vec![0; head.len()];
    for row in std::iter::once(&head).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in std::iter::once(&head).chain(&rows) {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, " {cell:<width$} ", width = *width);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut text = String::new();
        let rows = vec![
            vec!["eu-1".to_owned(), "3".to_owned()],
            vec!["a-long-name".to_owned(), "12".to_owned()],
        ];
        table(&mut text, "Clusters", &["CLUSTER", "GHOSTS"], rows);
        let expected = "\nClusters\n  CLUSTER      GHOSTS\n  eu-1         3\n  a-long-name  12\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_table_without_rows_says_so() {
        let mut text = String::new();
        table(&mut text, "Ghosts", &["CLUSTER"], Vec::new());
        assert_eq!(text, "\nGhosts\n  none\n");
    }
}
