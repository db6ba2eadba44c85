//! Alerts and dashboards: they ask only for metrics that exist, and every alert has its section in the handbook.

mod promql;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use super::files;

/// Where the metrics are listed, from the workspace root.
const CATALOGUE: &str = "crates/shepherd-ports/src/metrics/catalogue.rs";
/// The page that says what to do about an alert, from the workspace root and within the book.
const RUNBOOKS: &str = "docs/book/src/operator/runbooks.md";
const RUNBOOKS_PAGE: &str = "operator/runbooks.html";
/// Prometheus's own word about what it scrapes.
const SCRAPED: &str = "up";
/// What Prometheus makes of a histogram.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

#[derive(Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(default, rename = "for")]
    _lasts: Option<String>,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    severity: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    summary: String,
    description: String,
    runbook_url: String,
}

/// What is wrong with the alerts and dashboards of a folder.
pub(super) fn check(root: &Path, folder: &Path) -> anyhow::Result<Vec<String>> {
    let metrics = catalogue(root)?;
    let handbook = fs::read_to_string(root.join(RUNBOOKS)).with_context(|| format!("read {RUNBOOKS}"))?;
    let alerts = fs::read_to_string(folder.join("alerts.yaml")).context("read alerts.yaml")?;
    let alerts: Rules = serde_saphyr::from_str(&alerts).context("alerts.yaml does not hold rules")?;
    let mut findings = check_alerts(&alerts, &metrics, &headings(&handbook));
    let mut shown = BTreeSet::new();
    for file in files(&folder.join("dashboards"), "json")? {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let dashboard: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?;
        findings.extend(check_dashboard(&dashboard, &metrics, &mut shown));
    }
    let unseen = metrics.difference(&shown);
    findings.extend(unseen.map(|metric| format!("no dashboard shows {metric}")));
    Ok(findings)
}

/// The names of the metrics there are: the quoted words of the catalogue that are written like one.
fn catalogue(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let text = fs::read_to_string(root.join(CATALOGUE)).with_context(|| format!("read {CATALOGUE}"))?;
    let is_name = |word: &&str| {
        let written = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        word.contains('_') && !word.starts_with('_') && word.bytes().all(written)
    };
    // What stands between two strings is never a single word.
    let names: BTreeSet<String> = text.split('"').filter(is_name).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("{CATALOGUE} names no metrics");
    }
    Ok(names)
}

/// The headings of a page, as its links name them.
fn headings(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_ascii_lowercase())
        .collect()
}

fn check_alerts(alerts: &Rules, metrics: &BTreeSet<String>, headings: &BTreeSet<String>) -> Vec<String> {
    let mut findings = Vec::new();
    let mut names = BTreeSet::new();
    for rule in alerts.groups.iter().flat_map(|group| &group.rules) {
        let name = &rule.alert;
        let anchor = name.to_ascii_lowercase();
        let mut find = |what: String| findings.push(format!("alert {name}: {what}"));
        if !names.insert(name) {
            find("is there twice".to_owned());
        }
        if !["critical", "warning", "info"].contains(&rule.labels.severity.as_str()) {
            find(format!("has an unknown severity, {}", rule.labels.severity));
        }
        if rule.annotations.summary.is_empty() || rule.annotations.description.is_empty() {
            find("does not say what it means".to_owned());
        }
        if rule.annotations.runbook_url != format!("{RUNBOOKS_PAGE}#{anchor}") {
            find(format!("leads to {}", rule.annotations.runbook_url));
        }
        if !headings.contains(&anchor) {
            find(format!("has no heading in {RUNBOOKS}"));
        }
        for unknown in promql::metrics(&rule.expr)
            .iter()
            .filter(|name| known(name, metrics).is_none())
        {
            find(format!("asks for {unknown}, which is not measured"));
        }
    }
    findings
}

fn check_dashboard(dashboard: &Value, metrics: &BTreeSet<String>, shown: &mut BTreeSet<String>) -> Vec<String> {
    let title = dashboard["title"].as_str().unwrap_or("without title");
    let mut findings = Vec::new();
    let mut find = |what: String| findings.push(format!("dashboard {title}: {what}"));
    if dashboard["uid"].as_str().is_none_or(str::is_empty) {
        find("has no uid".to_owned());
    }
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let name = panel["title"].as_str().unwrap_or("without title");
        if !panel["id"].as_i64().is_some_and(|id| ids.insert(id)) {
            find(format!("panel {name} has no id of its own"));
        }
        if panel["type"] != "row" && list(&panel["targets"]).is_empty() {
            find(format!("panel {name} asks for nothing"));
        }
        for target in list(&panel["targets"]) {
            for asked in promql::metrics(target["expr"].as_str().unwrap_or_default()) {
                match known(&asked, metrics) {
                    Some(metric) => {
                        shown.insert(metric.to_owned());
                    }
                    None => find(format!("panel {name} asks for {asked}, which is not measured")),
                }
            }
        }
    }
    findings
}

/// The metric of the catalogue that a name in an expression means.
fn known<'a>(name: &'a str, metrics: &BTreeSet<String>) -> Option<&'a str> {
    let whole = PARTS
        .iter()
        .find_map(|part| name.strip_suffix(part))
        .filter(|whole| metrics.contains(*whole));
    whole.or_else(|| (name == SCRAPED || metrics.contains(name)).then_some(name))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn measured() -> BTreeSet<String> {
        ["login_total", "wait_seconds"].map(str::to_owned).into()
    }

    fn alerts(expr: &str, url: &str) -> Rules {
        serde_json::from_value(json!({"groups": [{"rules": [{
            "alert": "TooSlow", "expr": expr, "labels": {"severity": "warning"},
            "annotations": {"summary": "slow", "description": "slow", "runbook_url": url},
        }]}]}))
        .unwrap()
    }

    #[test]
    fn an_alert_is_measured_and_has_its_section() {
        let good = alerts("rate(login_total[5m]) > 1", "operator/runbooks.html#tooslow");
        let page = headings("# Runbooks\n\n## TooSlow\n\nWhat to do.\n");
        assert_eq!(check_alerts(&good, &measured(), &page), Vec::<String>::new());
        assert_eq!(check_alerts(&good, &measured(), &headings("# Runbooks\n")).len(), 1);
        let elsewhere = alerts("login_total > 1", "https://example.com");
        assert_eq!(check_alerts(&elsewhere, &measured(), &page).len(), 1);
        let unmeasured = alerts("logins > 1", "operator/runbooks.html#tooslow");
        assert_eq!(
            check_alerts(&unmeasured, &measured(), &page),
            ["alert TooSlow: asks for logins, which is not measured"]
        );
    }

    #[test]
    fn parts_of_histograms_are_measured() {
        assert_eq!(known("wait_seconds_bucket", &measured()), Some("wait_seconds"));
        assert_eq!(known("login_total", &measured()), Some("login_total"));
        assert_eq!(known("up", &measured()), Some("up"));
        assert_eq!(known("down_bucket", &measured()), None);
    }

    #[test]
    fn a_dashboard_shows_what_is_measured() {
        let dashboard = json!({"title": "All", "uid": "all", "panels": [
            {"id": 1, "type": "row", "title": "Now"},
            {"id": 2, "type": "stat", "title": "Logins", "targets": [{"expr": "sum(login_total)"}]},
            {"id": 2, "type": "stat", "title": "Empty", "targets": [{"expr": "nothing"}]},
        ]});
        let mut shown = BTreeSet::new();
        let findings = check_dashboard(&dashboard, &measured(), &mut shown);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert_eq!(shown, BTreeSet::from(["login_total".to_owned()]));
    }
}
