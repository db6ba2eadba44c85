//! Machines on clusters that no row knows: what their labels claim, and what stands in the way of taking them over
//! (kubernetes.md §8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::environment::Environment;
use crate::ids::{ServiceId, VmId};
use crate::labels;

/// What was decided about a machine that could be adopted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum AdoptionStatus {
    /// Nothing yet.
    Pending,
    /// It has a row now.
    Adopted,
    /// It is left alone.
    Ignored,
    /// It is gone, or can no longer be adopted.
    Expired,
}

impl AdoptionStatus {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a machine cannot be adopted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, EnumIter, IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Obstacle {
    /// The object is gone.
    ObjectMissing,
    /// Another object has its name now.
    ObjectReplaced,
    /// It no longer carries the platform's managed-by label.
    NotManaged,
    /// It does not name System, Service and instance.
    LabelsIncomplete,
    /// Its labels are not those that were found.
    LabelsChanged,
    /// The instance is not a number of at least two digits, such as `06`.
    InstanceInvalid,
    /// The annotation of its row is no id.
    VmIdInvalid,
    /// The annotation of its row is that of another machine.
    VmIdTaken,
    /// It is being deleted.
    BeingDeleted,
    /// Its namespace is not registered.
    NamespaceNotRegistered,
    /// Its namespace is of another environment than its cluster.
    EnvironmentMismatch,
    /// There is no such System and Service.
    ServiceNotFound,
    /// Another machine of the Service has the number.
    InstanceTaken,
    /// Another machine of the namespace has the name.
    NameTaken,
    /// A machine of the platform is that object already.
    AlreadyKnown,
    /// The cluster is disabled.
    ClusterDisabled,
}

impl Obstacle {
    /// The `reason` of ADOPTION_NOT_POSSIBLE.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Whose machine an object claims to be, by its labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Name of the System.
    pub system: String,
    /// Name of the Service.
    pub service: String,
    /// The instance, with at least two digits.
    pub instance: String,
    /// The instance as a number, from 1.
    pub index: i32,
}

impl Claim {
    /// Reads the labels of a machine.
    ///
    /// # Errors
    /// [`Obstacle::NotManaged`], [`Obstacle::LabelsIncomplete`], [`Obstacle::InstanceInvalid`].
    pub fn read(found: &BTreeMap<String, String>) -> Result<Self, Obstacle> {
        if found.get(labels::MANAGED_BY).map(String::as_str) != Some(labels::MANAGER) {
            return Err(Obstacle::NotManaged);
        }
        let label = |key: &str| found.get(key).filter(|value| !value.is_empty()).cloned();
        let named = label(labels::SYSTEM).zip(label(labels::SERVICE));
        let ((system, service), instance) = named.zip(label(labels::INSTANCE)).ok_or(Obstacle::LabelsIncomplete)?;
        let index = index_of(&instance).ok_or(Obstacle::InstanceInvalid)?;
        Ok(Self {
            system,
            service,
            instance,
            index,
        })
    }
}

/// The number of an instance that is written as the platform writes it. One below the largest: the Service counts on.
fn index_of(instance: &str) -> Option<i32> {
    let index: i32 = instance.parse().ok()?;
    let canonical = (1..i32::MAX).contains(&index) && instance == format!("{index:02}");
    canonical.then_some(index)
}

/// The row that an object names in its annotation, if it names one.
///
/// # Errors
/// [`Obstacle::VmIdInvalid`].
pub fn annotated_row(annotation: Option<&str>) -> Result<Option<VmId>, Obstacle> {
    annotation
        .map(|text| text.parse().map_err(|_| Obstacle::VmIdInvalid))
        .transpose()
}

/// What the platform knows about the places an object claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Surroundings {
    /// A row has its cluster, namespace and name, or its cluster and uid.
    pub known: bool,
    /// A row has the id of its annotation.
    pub id_taken: bool,
    /// A row has its namespace and name, on whatever cluster.
    pub name_taken: bool,
    /// Environment of its namespace, when that is registered.
    pub namespace: Option<Environment>,
    /// The Service of its System.
    pub service: Option<ServiceId>,
    /// A row of the Service has the number.
    pub instance_taken: bool,
}

/// What a machine on a cluster is to the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not carry the platform's label, and is none of its business.
    Foreign,
    /// It has a row.
    Known,
    /// It could be adopted.
    Candidate(Claim),
    /// It carries the label, has no row, and cannot be adopted.
    Orphan(Obstacle),
}

/// What the machine is, given its labels, the row it names, whether it is being deleted, and what is known around it.
pub fn standing(
    found: &BTreeMap<String, String>,
    annotation: Option<&str>,
    being_deleted: bool,
    cluster: Environment,
    around: &Surroundings,
) -> Standing {
    let claim = match Claim::read(found) {
        Err(Obstacle::NotManaged) => return Standing::Foreign,
        claim => claim,
    };
    if around.known {
        return Standing::Known;
    }
    let checked = claim.and_then(|claim| {
        annotated_row(annotation)?;
        if being_deleted {
            return Err(Obstacle::BeingDeleted);
        }
        around.admit(cluster)?;
        Ok(claim)
    });
    match checked {
        Ok(claim) => Standing::Candidate(claim),
        Err(obstacle) => Standing::Orphan(obstacle),
    }
}

impl Surroundings {
    /// Whether the places are free, on a cluster of this environment.
    ///
    /// # Errors
    /// The first obstacle.
    pub fn admit(&self, cluster: Environment) -> Result<(), Obstacle> {
        if self.known {
            return Err(Obstacle::AlreadyKnown);
        }
        if self.id_taken {
            return Err(Obstacle::VmIdTaken);
        }
        match self.namespace {
            None => return Err(Obstacle::NamespaceNotRegistered),
            Some(namespace) if namespace != cluster => return Err(Obstacle::EnvironmentMismatch),
            Some(_) => {}
        }
        if self.service.is_none() {
            return Err(Obstacle::ServiceNotFound);
        }
        if self.instance_taken {
            return Err(Obstacle::InstanceTaken);
        }
        if self.name_taken {
            return Err(Obstacle::NameTaken);
        }
        Ok(())
    }
}
