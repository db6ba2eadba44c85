//! Values that the chart has to refuse: each would install something that does not work, or a secret in plain text.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::process::Command;

/// Settings, each with a piece of what helm has to say about it.
const REFUSED: [(&str, &str); 24] = [
    // Secrets in plain text.
    (r#"config.database.password="x""#, "config.database.password"),
    (r#"config={"database.password":"x"}"#, "config"),
    (
        r#"config.security.encryption_key="x""#,
        "config.security.encryption_key",
    ),
    (
        r#"config.security.jwt_verification_keys=["x"]"#,
        "config.security.jwt_verification_keys",
    ),
    // A stop that is cut short, however the time is written.
    (
        r#"config.server.shutdown_timeout="2m""#,
        "terminationGracePeriodSeconds",
    ),
    (
        r#"config.server.shutdown_timeout="90000ms""#,
        "terminationGracePeriodSeconds",
    ),
    (
        r#"config.server.shutdown_timeout="60 s""#,
        "terminationGracePeriodSeconds",
    ),
    (
        r#"config.server.shutdown_timeout="30s 20s""#,
        "terminationGracePeriodSeconds",
    ),
    (r#"config.server.shutdown_timeout="1day""#, "shutdown_timeout"),
    // The same behind the back of the chart, and a port that nothing leads to.
    (
        r#"extraEnv=[{"name":"SERVER_SHUTDOWN_TIMEOUT","value":"5m"}]"#,
        "extraEnv",
    ),
    (r#"extraEnv=[{"name":"SERVER_PORT","value":"9999"}]"#, "extraEnv"),
    (
        r#"extraEnv=[{"name":"DATABASE_URL","value":"postgres://db:6432/shepherd"}]"#,
        "extraEnv",
    ),
    // What the API server or the process would refuse later.
    (r#"api.podAnnotations={"a":1}"#, "api.podAnnotations"),
    (r#"commonLabels={"app.kubernetes.io/name":"x"}"#, "commonLabels"),
    (r#"fullnameOverride="1st""#, "fullnameOverride"),
    (r#"secrets.database.passwordKey="""#, "secrets.database.passwordKey"),
    ("metrics.port=8080", "metrics.port"),
    (
        r#"api.autoscaling={"enabled":true,"minReplicas":11}"#,
        "api.autoscaling.minReplicas",
    ),
    (
        r#"secrets.seedAdmin.existingSecret="""#,
        "secrets.seedAdmin.existingSecret",
    ),
    // Nodes that could never be drained.
    (
        "api.podDisruptionBudget.maxUnavailable=0",
        "api.podDisruptionBudget.maxUnavailable",
    ),
    (
        r#"api.podDisruptionBudget.maxUnavailable="0%""#,
        "api.podDisruptionBudget.maxUnavailable",
    ),
    // Keys that would come from nowhere.
    (
        r#"secrets.keys={"existingSecret":"a","encryptionKeyKey":"","sessionSecretKey":""}"#,
        "secrets.keys.existingSecret",
    ),
    ("secrets.keys.rotateFromDb=true", "rotateFromDb"),
    (
        r#"secrets.keys={"existingSecret":"a","rotateFromSecret":"a"}"#,
        "rotateFromSecret",
    ),
];

/// The settings that the chart takes nevertheless, or refuses for another reason. Helm has to be installed.
pub(super) async fn check(chart: &Path) -> anyhow::Result<Vec<String>> {
    let mut findings = Vec::new();
    for (setting, why) in REFUSED {
        let output = Command::new("helm")
            .args([OsStr::new("template"), OsStr::new("shepherd"), chart.as_os_str()])
            .args(["--set-json", setting])
            .stdin(Stdio::null())
            .output()
            .await
            .context("run helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        findings.extend(judge(setting, why, output.status.success(), &said));
    }
    Ok(findings)
}

fn judge(setting: &str, why: &str, taken: bool, said: &str) -> Option<String> {
    if taken {
        Some(format!("the chart takes {setting}"))
    } else if said.contains(why) {
        None
    } else {
        Some(format!("the chart does not say {why} about {setting}: {}", said.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_why() {
        assert_eq!(judge("size=1", "size", false, "Error: size must be text"), None);
        assert_eq!(
            judge("size=1", "size", true, "").as_deref(),
            Some("the chart takes size=1")
        );
        assert!(judge("size=1", "size", false, "no such command").is_some());
    }
}
