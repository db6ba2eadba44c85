//! Which requests a policy is for, on the wire.

use serde::{Deserialize, Serialize};
use shepherd_domain::ids::{InstanceSizeId, ServiceId, SystemId, UserId};
use shepherd_domain::policy::{Matchers, NamespaceGlob};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use utoipa::ToSchema;
use uuid::Uuid;

/// Which requests a policy is for: all that are present must match, one entry of a list is enough.
#[derive(Serialize, ToSchema)]
pub(super) struct ApprovalPolicyMatchers {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespaces: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_ids: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_ids: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_size_ids: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requester_ids: Option<Vec<Uuid>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requester_roles: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cpu_cores: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory_mb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_disk_gb: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    special_hardware: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<bool>,
}

fn each<A: Into<B>, B>(list: Option<Vec<A>>) -> Option<Vec<B>> {
    list.map(|list| list.into_iter().map(Into::into).collect())
}

impl From<Matchers> for ApprovalPolicyMatchers {
    fn from(matchers: Matchers) -> Self {
        Self {
            namespaces: each(matchers.namespaces),
            system_ids: each(matchers.system_ids),
            service_ids: each(matchers.service_ids),
            template_names: matchers.template_names,
            instance_size_ids: each(matchers.instance_size_ids),
            requester_ids: each(matchers.requester_ids),
            requester_roles: matchers.requester_roles,
            max_cpu_cores: matchers.max_cpu_cores,
            max_memory_mb: matchers.max_memory_mb,
            max_disk_gb: matchers.max_disk_gb,
            special_hardware: matchers.special_hardware,
            batch: matchers.batch,
        }
    }
}

/// Which requests a policy is for: all that are present must match, one entry of a list is enough.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalPolicyMatchersRequest {
    /// Names, where `*` stands for any text and `?` for one character.
    #[schema(min_items = 1, max_items = 100)]
    namespaces: Option<Vec<String>>,
    #[schema(min_items = 1, max_items = 100)]
    system_ids: Option<Vec<Uuid>>,
    #[schema(min_items = 1, max_items = 100)]
    service_ids: Option<Vec<Uuid>>,
    /// Whatever their versions.
    #[schema(min_items = 1, max_items = 100)]
    template_names: Option<Vec<String>>,
    #[schema(min_items = 1, max_items = 100)]
    instance_size_ids: Option<Vec<Uuid>>,
    #[schema(min_items = 1, max_items = 100)]
    requester_ids: Option<Vec<Uuid>>,
    /// Keys of roles that the requester holds in the environment, globally or on the System; ids of roles without one.
    #[schema(min_items = 1, max_items = 100)]
    requester_roles: Option<Vec<String>>,
    #[schema(minimum = 1)]
    max_cpu_cores: Option<i32>,
    #[schema(minimum = 1)]
    max_memory_mb: Option<i32>,
    #[schema(minimum = 1)]
    max_disk_gb: Option<i32>,
    /// GPU, SR-IOV, hugepages or dedicated processors.
    special_hardware: Option<bool>,
    /// Many machines at once.
    batch: Option<bool>,
}

impl ApprovalPolicyMatchersRequest {
    /// # Errors
    /// VALIDATION_FAILED with INVALID_FORMAT for what is no pattern.
    pub(super) fn parse(self) -> Result<Matchers, Problem> {
        let globs = |names: Vec<String>| -> Result<Vec<NamespaceGlob>, Problem> {
            let mut globs = Vec::new();
            let mut errors = Vec::new();
            for (index, name) in names.into_iter().enumerate() {
                match NamespaceGlob::try_from(name) {
                    Ok(glob) => globs.push(glob),
                    Err(_) => errors.push(FieldError::new(
                        format!("matchers.namespaces[{index}]"),
                        FieldCode::InvalidFormat,
                    )),
                }
            }
            if errors.is_empty() {
                Ok(globs)
            } else {
                Err(Problem::invalid(errors))
            }
        };
        Ok(Matchers {
            namespaces: self.namespaces.map(globs).transpose()?,
            system_ids: each::<_, SystemId>(self.system_ids),
            service_ids: each::<_, ServiceId>(self.service_ids),
            template_names: self.template_names,
            instance_size_ids: each::<_, InstanceSizeId>(self.instance_size_ids),
            requester_ids: each::<_, UserId>(self.requester_ids),
            requester_roles: self.requester_roles,
            max_cpu_cores: self.max_cpu_cores,
            max_memory_mb: self.max_memory_mb,
            max_disk_gb: self.max_disk_gb,
            special_hardware: self.special_hardware,
            batch: self.batch,
        })
    }
}
