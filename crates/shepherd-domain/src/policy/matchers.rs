//! Which requests a policy is for.

use serde::{Deserialize, Serialize};
use strum::{Display, IntoStaticStr};

use super::glob::NamespaceGlob;
use crate::environment::Environment;
use crate::ids::{InstanceSizeId, ServiceId, SystemId, UserId};
use crate::ticket::RequestType;

/// Most entries of a list.
pub const MAX_LIST: usize = 100;

/// What the policies know of a request. What is not known of it matches nothing that asks for it, but for special
/// hardware ([`Matchers::failed`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFacts {
    /// Its kind.
    pub operation: RequestType,
    /// The environment of its namespace.
    pub environment: Environment,
    /// Who asks.
    pub requester: Option<UserId>,
    /// The keys of the roles by which the requester acts there.
    pub roles: Vec<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its System.
    pub system: Option<SystemId>,
    /// Its Service.
    pub service: Option<ServiceId>,
    /// The name of the template, whatever its version.
    pub template_name: Option<String>,
    /// The size; of an operation on a machine that of the machine.
    pub size: Option<InstanceSizeId>,
    /// Processors.
    pub cpu_cores: Option<i32>,
    /// Memory in MiB.
    pub memory_mb: Option<i32>,
    /// Disk in GiB.
    pub disk_gb: Option<i32>,
    /// Whether it needs GPU, SR-IOV, hugepages or dedicated processors; not known of a size that is not there.
    pub special_hardware: Option<bool>,
    /// Whether it is about many machines at once.
    pub batch: bool,
}

impl PolicyFacts {
    /// A request of which nothing but kind and environment is known.
    pub fn new(operation: RequestType, environment: Environment) -> Self {
        Self {
            operation,
            environment,
            requester: None,
            roles: Vec::new(),
            namespace: None,
            system: None,
            service: None,
            template_name: None,
            size: None,
            cpu_cores: None,
            memory_mb: None,
            disk_gb: None,
            special_hardware: None,
            batch: operation.is_batch(),
        }
    }
}

/// The name of a matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of Matchers")]
pub enum MatcherName {
    Namespaces,
    SystemIds,
    ServiceIds,
    TemplateNames,
    InstanceSizeIds,
    RequesterIds,
    RequesterRoles,
    MaxCpuCores,
    MaxMemoryMb,
    MaxDiskGb,
    SpecialHardware,
    Batch,
}

impl MatcherName {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// All that are present must match; one entry of a list is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Matchers {
    /// Namespaces by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<NamespaceGlob>>,
    /// Systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_ids: Option<Vec<SystemId>>,
    /// Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_ids: Option<Vec<ServiceId>>,
    /// Templates by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_names: Option<Vec<String>>,
    /// Sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_size_ids: Option<Vec<InstanceSizeId>>,
    /// Requesters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester_ids: Option<Vec<UserId>>,
    /// Requesters by the keys of their roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requester_roles: Option<Vec<String>>,
    /// At most so many processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu_cores: Option<i32>,
    /// At most so much memory, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_mb: Option<i32>,
    /// At most so much disk, in GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_disk_gb: Option<i32>,
    /// With or without special hardware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub special_hardware: Option<bool>,
    /// About many machines at once, or about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<bool>,
}

impl Matchers {
    /// How many there are.
    pub fn count(&self) -> u32 {
        let present = [
            self.namespaces.is_some(),
            self.system_ids.is_some(),
            self.service_ids.is_some(),
            self.template_names.is_some(),
            self.instance_size_ids.is_some(),
            self.requester_ids.is_some(),
            self.requester_roles.is_some(),
            self.max_cpu_cores.is_some(),
            self.max_memory_mb.is_some(),
            self.max_disk_gb.is_some(),
            self.special_hardware.is_some(),
            self.batch.is_some(),
        ];
        present.into_iter().map(u32::from).sum()
    }

    /// The first that does not match; none when the request is one of those that are meant.
    ///
    /// Whether a request needs special hardware is not known when the size of its machine is gone. Nothing becomes easier
    /// by that: a policy that makes requests wait takes it for what it asks for, one that approves them does not.
    pub fn failed(&self, facts: &PolicyFacts, requires_approval: bool) -> Option<MatcherName> {
        let by_role = |keys: &[String]| keys.iter().any(|key| facts.roles.contains(key));
        let by_name = |globs: &[NamespaceGlob]| {
            let name = facts.namespace.as_deref();
            name.is_some_and(|name| globs.iter().any(|glob| glob.matches(name)))
        };
        let judged = [
            (MatcherName::Namespaces, self.namespaces.as_deref().map(by_name)),
            (
                MatcherName::SystemIds,
                is_listed(self.system_ids.as_deref(), facts.system.as_ref()),
            ),
            (
                MatcherName::ServiceIds,
                is_listed(self.service_ids.as_deref(), facts.service.as_ref()),
            ),
            (
                MatcherName::TemplateNames,
                is_listed(self.template_names.as_deref(), facts.template_name.as_ref()),
            ),
            (
                MatcherName::InstanceSizeIds,
                is_listed(self.instance_size_ids.as_deref(), facts.size.as_ref()),
            ),
            (
                MatcherName::RequesterIds,
                is_listed(self.requester_ids.as_deref(), facts.requester.as_ref()),
            ),
            (
                MatcherName::RequesterRoles,
                self.requester_roles.as_deref().map(by_role),
            ),
            (MatcherName::MaxCpuCores, is_within(self.max_cpu_cores, facts.cpu_cores)),
            (MatcherName::MaxMemoryMb, is_within(self.max_memory_mb, facts.memory_mb)),
            (MatcherName::MaxDiskGb, is_within(self.max_disk_gb, facts.disk_gb)),
            (
                MatcherName::SpecialHardware,
                self.special_hardware.map(|wanted| {
                    facts
                        .special_hardware
                        .map_or(requires_approval, |needed| needed == wanted)
                }),
            ),
            (MatcherName::Batch, self.batch.map(|wanted| facts.batch == wanted)),
        ];
        let failed = judged.into_iter().find(|(_, outcome)| *outcome == Some(false));
        failed.map(|(name, _)| name)
    }
}

/// Nothing when there is no such matcher.
fn is_listed<T: PartialEq>(list: Option<&[T]>, value: Option<&T>) -> Option<bool> {
    let list = list?;
    Some(value.is_some_and(|value| list.contains(value)))
}

fn is_within(most: Option<i32>, value: Option<i32>) -> Option<bool> {
    let most = most?;
    Some(value.is_some_and(|value| value <= most))
}
