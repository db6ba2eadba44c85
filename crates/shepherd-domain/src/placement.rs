//! Where a machine may go: the eligibility of a cluster for a request.

use serde_json::json;

use crate::catalog::InstanceSize;
use crate::cluster::{ClusterStatus, DetectedCapabilities};
use crate::environment::Environment;
use crate::ids::ClusterId;
use crate::problem::{ErrorCode, Problem, Warning, WarningCode};

/// What placement needs to know about a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
    /// Its environment.
    pub environment: Environment,
    /// Last health result.
    pub status: ClusterStatus,
    /// Whether an administrator lets it take part.
    pub enabled: bool,
    /// Hardware and services.
    pub capabilities: DetectedCapabilities,
    /// Detected storage classes.
    pub storage_classes: Vec<String>,
    /// The one that is taken when nobody chooses: the administrator's, else the cluster's own default.
    pub default_storage_class: Option<String>,
    /// 0 to 1000, higher is preferred.
    pub scheduling_weight: i32,
    /// Machines it has now.
    pub vm_count: i64,
}

impl Candidate {
    /// Checks the cluster for a namespace of this environment and a size.
    ///
    /// # Errors
    /// The first of: VALIDATION_FAILED (disabled), CLUSTER_UNHEALTHY, NAMESPACE_CLUSTER_ENV_MISMATCH,
    /// CAPABILITY_MISSING.
    pub fn admit(&self, namespace: &str, environment: Environment, size: &InstanceSize) -> Result<(), Problem> {
        match self.objections(namespace, environment, size).into_iter().next() {
            Some(objection) => Err(objection),
            None => Ok(()),
        }
    }

    /// Everything that speaks against the cluster, in the order of [`Self::admit`]; nothing when it is eligible.
    pub fn objections(&self, namespace: &str, environment: Environment, size: &InstanceSize) -> Vec<Problem> {
        let checks = [
            self.admit_enabled(),
            self.admit_health(),
            self.admit_environment(namespace, environment),
            self.admit_size(size),
        ];
        checks.into_iter().filter_map(Result::err).collect()
    }

    /// Checks that an administrator lets it take part.
    ///
    /// # Errors
    /// VALIDATION_FAILED.
    pub fn admit_enabled(&self) -> Result<(), Problem> {
        if self.enabled {
            return Ok(());
        }
        Err(Problem::invalid_field(
            "selected_cluster_id",
            crate::problem::FieldCode::UnknownValue,
        ))
    }

    /// Checks that it is of the environment of the namespace.
    ///
    /// # Errors
    /// NAMESPACE_CLUSTER_ENV_MISMATCH.
    pub fn admit_environment(&self, namespace: &str, environment: Environment) -> Result<(), Problem> {
        if self.environment == environment {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::NamespaceClusterEnvMismatch)
            .with("namespace", namespace)
            .with("namespace_env", environment.as_str())
            .with("cluster", self.name.as_str())
            .with("cluster_env", self.environment.as_str()))
    }

    /// Checks that it has what the size needs, GPUs by their exact device names.
    ///
    /// # Errors
    /// CAPABILITY_MISSING.
    pub fn admit_size(&self, size: &InstanceSize) -> Result<(), Problem> {
        let missing = self.capabilities.missing(&size.capabilities);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Problem::new(ErrorCode::CapabilityMissing)
            .with("missing", json!(missing))
            .with("cluster", self.name.as_str()))
    }

    /// Checks the health alone.
    ///
    /// # Errors
    /// CLUSTER_UNHEALTHY.
    pub fn admit_health(&self) -> Result<(), Problem> {
        match self.status {
            ClusterStatus::Healthy => Ok(()),
            ClusterStatus::Unknown | ClusterStatus::Unhealthy | ClusterStatus::Unreachable => {
                Err(Problem::new(ErrorCode::ClusterUnhealthy)
                    .with("cluster", self.name.as_str())
                    .with("status", self.status.as_str()))
            }
        }
    }

    /// Resolves the storage class: the chosen one, else the cluster's default, else none with a warning.
    ///
    /// # Errors
    /// STORAGE_CLASS_NOT_FOUND when the chosen one was not detected.
    pub fn storage_class(&self, chosen: Option<&str>) -> Result<(Option<String>, Option<Warning>), Problem> {
        match chosen.filter(|name| !name.is_empty()) {
            Some(name) if self.storage_classes.iter().any(|class| class == name) => Ok((Some(name.to_owned()), None)),
            Some(name) => Err(Problem::new(ErrorCode::StorageClassNotFound)
                .with("storage_class", name)
                .with("available", json!(self.storage_classes))),
            None => match &self.default_storage_class {
                Some(name) => Ok((Some(name.clone()), None)),
                None => Ok((
                    None,
                    Some(Warning::new(WarningCode::NoDefaultStorageClass).with("cluster", self.name.as_str())),
                )),
            },
        }
    }

    /// Preference: `scheduling_weight` minus load, which is the number of machines. Higher is better; it may be negative.
    pub fn score(&self) -> i64 {
        i64::from(self.scheduling_weight) - self.vm_count
    }
}

/// The eligible clusters, best first: highest score, then name.
pub fn eligible<'a>(
    candidates: &'a [Candidate],
    namespace: &str,
    environment: Environment,
    size: &InstanceSize,
) -> Vec<&'a Candidate> {
    let mut fit: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| candidate.admit(namespace, environment, size).is_ok())
        .collect();
    fit.sort_by(|a, b| b.score().cmp(&a.score()).then_with(|| a.name.cmp(&b.name)));
    fit
}
