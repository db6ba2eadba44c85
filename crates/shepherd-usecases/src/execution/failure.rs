//! How an operation fails (requests.md §11).

use std::time::Duration;

use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::providers::ProviderError;

use crate::UseCaseError;

/// Why an operation did not succeed, by what happens next.
#[derive(Debug)]
pub enum Failure {
    /// Trying again cannot help: event and ticket FAILED.
    Permanent(Problem, String),
    /// Trying again may help: up to the configured attempts.
    Transient(Problem, String),
    /// Not now: wait without using an attempt, up to a limit, then transient.
    Unavailable(Problem, String),
    /// The cluster works on it: look again soon, up to the operation timeout, then transient.
    InProgress(Problem, Duration),
    /// The row of the machine is gone: event CANCELLED, ticket FAILED.
    TargetGone,
    /// The store failed; the queue tries again.
    Store(UseCaseError),
}

impl From<UseCaseError> for Failure {
    fn from(error: UseCaseError) -> Self {
        match error {
            UseCaseError::Problem(problem) => Self::Permanent(problem, String::new()),
            other @ (UseCaseError::Repository(_)
            | UseCaseError::Cipher(_)
            | UseCaseError::Password(_)
            | UseCaseError::Token(_)
            | UseCaseError::Stored { .. }
            | UseCaseError::Broken(_)) => Self::Store(other),
        }
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        Self::Store(error.into())
    }
}

impl Failure {
    /// Sorts an error of a cluster into its class; `code` is the code of the operation.
    pub fn of_provider(code: ErrorCode, cluster: &str, error: &ProviderError) -> Self {
        let detail = error.to_string();
        if let Some(problem) = crate::vm::dry_run::rejected(cluster, error) {
            return Self::Permanent(problem, detail);
        }
        let problem = |reason: &str| Problem::new(code).with("reason", reason).with("cluster", cluster);
        match error {
            ProviderError::Conflict(_) | ProviderError::AlreadyExists(_) => {
                Self::Transient(problem("Conflict"), detail)
            }
            ProviderError::NotFound(_) => Self::Transient(problem("NotFound"), detail),
            ProviderError::Throttled { .. } => Self::Transient(problem("Throttled"), detail),
            ProviderError::Timeout(_) => Self::Transient(problem("Timeout"), detail),
            ProviderError::Unreachable(_) => Self::Transient(problem("Unreachable"), detail),
            ProviderError::Schema(_) => Self::Transient(problem("UnexpectedAnswer"), detail),
            ProviderError::Unavailable(_) => Self::Unavailable(
                Problem::new(ErrorCode::ClusterUnreachable).with("cluster", cluster),
                detail,
            ),
            // Verdicts, sorted out above.
            ProviderError::Invalid { .. }
            | ProviderError::Forbidden(_)
            | ProviderError::Quota(_)
            | ProviderError::Unsupported(_) => Self::Permanent(problem("Refused"), detail),
        }
    }

    /// Sorts an error of an action on a machine, or of an object beside it. There is no dry run of these: a verdict of
    /// the cluster is a failure of the operation, and what it does not serve is CAPABILITY_NOT_SUPPORTED.
    pub fn of_action(code: ErrorCode, capability: &str, cluster: &str, error: &ProviderError) -> Self {
        let detail = error.to_string();
        let refused = |why: &str| {
            Problem::new(code)
                .with("reason", "Refused")
                .with("k8s_reason", why)
                .with("cluster", cluster)
        };
        match error {
            ProviderError::Unsupported(_) => Self::Permanent(
                Problem::new(ErrorCode::CapabilityNotSupported)
                    .with("capability", capability)
                    .with("cluster", cluster),
                detail,
            ),
            ProviderError::Invalid { reason, .. } => Self::Permanent(refused(reason), detail),
            ProviderError::Forbidden(_) => Self::Permanent(refused("Forbidden"), detail),
            ProviderError::Quota(_) => Self::Permanent(refused("QuotaExceeded"), detail),
            ProviderError::NotFound(_)
            | ProviderError::AlreadyExists(_)
            | ProviderError::Conflict(_)
            | ProviderError::Throttled { .. }
            | ProviderError::Timeout(_)
            | ProviderError::Unreachable(_)
            | ProviderError::Schema(_)
            | ProviderError::Unavailable(_) => Self::of_provider(code, cluster, error),
        }
    }

    /// Sorts an error of making a namespace.
    pub fn of_namespace(namespace: &str, cluster: &str, error: &ProviderError) -> Self {
        let detail = error.to_string();
        if let Some(problem) = crate::cluster::namespaces::refused(namespace, cluster, error) {
            return Self::Permanent(problem, detail);
        }
        match error {
            ProviderError::Unavailable(_) => Self::Unavailable(
                Problem::new(ErrorCode::ClusterUnreachable).with("cluster", cluster),
                detail,
            ),
            ProviderError::NotFound(_)
            | ProviderError::AlreadyExists(_)
            | ProviderError::Conflict(_)
            | ProviderError::Throttled { .. }
            | ProviderError::Timeout(_)
            | ProviderError::Unreachable(_)
            | ProviderError::Unsupported(_)
            | ProviderError::Schema(_)
            // Verdicts, sorted out above.
            | ProviderError::Forbidden(_)
            | ProviderError::Quota(_)
            | ProviderError::Invalid { .. } => Self::Transient(
                Problem::new(ErrorCode::NamespaceCreationFailed)
                    .with("namespace", namespace)
                    .with("cluster", cluster)
                    .with("reason", "Unreachable"),
                detail,
            ),
        }
    }
}
