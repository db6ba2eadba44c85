//! Every alert has a runbook, and every runbook an alert.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::document::Documents;

const RUNBOOKS: &str = "docs/book/src/operator/runbooks.md";
/// Where rules of alerts are, from the workspace root.
const RULES: &str = "deploy";

pub(super) fn check(root: &Path, documents: &Documents) -> anyhow::Result<Vec<String>> {
    let alerts = alerts(&root.join(RULES))?;
    if alerts.is_empty() {
        return Ok(Vec::new());
    }
    let Some(runbooks) = documents.get(Path::new(RUNBOOKS)) else {
        return Ok(vec![format!("{RUNBOOKS} is not there")]);
    };
    let sections: BTreeSet<String> = runbooks.sections.iter().cloned().collect();
    let silent = alerts
        .difference(&sections)
        .map(|alert| format!("{RUNBOOKS} says nothing about {alert}"));
    let unknown = sections
        .difference(&alerts)
        .map(|section| format!("{RUNBOOKS}: no rule below {RULES} raises {section}"));
    Ok(silent.chain(unknown).collect())
}

/// Names after `alert:` in the YAML files below a directory; templates are YAML enough for that.
fn alerts(directory: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut alerts = BTreeSet::new();
    for path in files(directory)? {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        alerts.extend(text.lines().filter_map(alert).map(str::to_owned));
    }
    Ok(alerts)
}

fn alert(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let name = line.strip_prefix("- ").unwrap_or(line).strip_prefix("alert:")?.trim();
    (!name.is_empty() && name.chars().all(char::is_alphanumeric)).then_some(name)
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            files.extend(self::files(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_named_by_its_rule() {
        assert_eq!(alert("      - alert: ShepherdDown"), Some("ShepherdDown"));
        assert_eq!(alert("    alert: ShepherdDown"), Some("ShepherdDown"));
        assert_eq!(alert("# alerts: many"), None);
        assert_eq!(alert("- alert: {{ .Values.name }}"), None);
    }
}
