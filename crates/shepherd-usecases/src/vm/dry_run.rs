//! Asking a cluster whether it would take a document.

use std::time::Instant;

use serde_json::json;
use shepherd_domain::problem::{ErrorCode, Problem, Warning, WarningCode};
use shepherd_domain::rendering::VmDocument;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::{ApplyMode, ProviderError};

use crate::Platform;

/// What a dry run found.
#[derive(Debug, PartialEq)]
pub enum DryRun {
    /// The cluster would take it.
    Accepted(Vec<Warning>),
    /// The cluster refused it: DRY_RUN_REJECTED.
    Rejected(Problem),
    /// The cluster did not answer.
    Unreachable,
}

/// Asks the cluster. No transaction is open meanwhile.
pub async fn ask(platform: &Platform, cluster: &ClusterRecord, namespace: &str, document: &VmDocument) -> DryRun {
    let started = Instant::now();
    let answer = platform
        .provider
        .apply_vm(cluster.id, document, ApplyMode::DryRun)
        .await;
    let mut warnings = slow(platform, cluster, started);
    match answer {
        Ok(_) => DryRun::Accepted(warnings),
        // The namespace is made just in time; until then the server cannot look at the object.
        Err(ProviderError::NotFound(_)) => {
            warnings.push(
                Warning::new(WarningCode::NamespaceWillBeCreated)
                    .with("namespace", namespace)
                    .with("cluster", cluster.name.as_str()),
            );
            DryRun::Accepted(warnings)
        }
        Err(error) => refused(cluster, &error),
    }
}

/// DRY_RUN_SLOW, when a dry run that began then took long.
pub(crate) fn slow(platform: &Platform, cluster: &ClusterRecord, started: Instant) -> Vec<Warning> {
    if started.elapsed() > platform.settings().dry_run_warn {
        vec![Warning::new(WarningCode::DryRunSlow).with("cluster", cluster.name.as_str())]
    } else {
        Vec::new()
    }
}

/// What an error says about the object: the cluster's verdict, or none.
pub(crate) fn refused(cluster: &ClusterRecord, error: &ProviderError) -> DryRun {
    rejected(&cluster.name, error).map_or_else(
        || {
            tracing::info!(cluster = %cluster.name, %error, "the dry run got no answer");
            DryRun::Unreachable
        },
        DryRun::Rejected,
    )
}

/// DRY_RUN_REJECTED when the error is the server's verdict on the object, `None` when there was no verdict.
pub fn rejected(cluster: &str, error: &ProviderError) -> Option<Problem> {
    let problem = |reason: &str, causes: &[(String, String)]| {
        let listed: Vec<_> = causes
            .iter()
            .map(|(field, message)| json!({"field": field, "message": message}))
            .collect();
        let problem = Problem::new(ErrorCode::DryRunRejected)
            .with("cluster", cluster)
            .with("k8s_reason", reason)
            .with("causes", listed);
        match causes.first() {
            Some((field, _)) if !field.is_empty() => problem.with("field", field.as_str()),
            _ => problem,
        }
    };
    match error {
        ProviderError::Invalid {
            reason,
            causes,
            message,
        } => {
            let causes = if causes.is_empty() {
                vec![(String::new(), message.clone())]
            } else {
                causes.clone()
            };
            Some(problem(reason, &causes))
        }
        ProviderError::Forbidden(message) => Some(problem("Forbidden", &[(String::new(), message.clone())])),
        ProviderError::Quota(message) => Some(problem("QuotaExceeded", &[(String::new(), message.clone())])),
        ProviderError::Unsupported(message) => Some(problem("Unsupported", &[(String::new(), message.clone())])),
        ProviderError::NotFound(_)
        | ProviderError::AlreadyExists(_)
        | ProviderError::Conflict(_)
        | ProviderError::Throttled { .. }
        | ProviderError::Timeout(_)
        | ProviderError::Unreachable(_)
        | ProviderError::Schema(_)
        | ProviderError::Unavailable(_) => None,
    }
}
