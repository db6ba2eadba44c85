//! What approvers start from, the pending tickets they may decide, and what requesters start from, the things a request
//! may name.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::Environment;
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ClusterId, InstanceSizeId, ServiceId, SystemId, TemplateId, TicketId, UserId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::{PriorityTier, RequestType};
use shepherd_domain::vm::VmStatus;

use crate::error::RepositoryError;
use crate::sizes::SizeRecord;
use crate::tickets::TicketRecord;

/// Most namespaces and most Services that a requester is offered at once.
pub const MAX_OFFERED: i64 = 1000;

/// Who looks at the workbench, and when.
#[derive(Clone, Copy, Debug)]
pub struct WorkbenchView {
    /// The approver. Tickets whose policy names other approvers are not shown.
    pub user: UserId,
    /// Environments in which the approver holds `approval:view`.
    pub visible: EnvironmentSet,
    /// The moment that ages are counted to.
    pub now: DateTime<Utc>,
}

/// Filters of the workbench.
#[derive(Clone, Debug, Default)]
pub struct WorkbenchFilter {
    /// Of this environment.
    pub environment: Option<Environment>,
    /// Of one of these types.
    pub request_types: Option<Vec<RequestType>>,
    /// Id or user name of the requester.
    pub requester: Option<String>,
    /// Name of the namespace.
    pub namespace: Option<String>,
    /// Of this urgency.
    pub tier: Option<PriorityTier>,
}

/// How many tickets there are of each urgency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub struct TierCounts {
    pub normal: u64,
    pub warning: u64,
    pub urgent: u64,
}

impl TierCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.normal + self.warning + self.urgent
    }
}

/// What tickets point to.
#[derive(Clone, Debug, Default)]
pub struct TicketReferences {
    /// Template versions.
    pub templates: Vec<TemplateId>,
    /// Sizes.
    pub sizes: Vec<InstanceSizeId>,
    /// Machines.
    pub vms: Vec<VmId>,
    /// Tickets that may have children.
    pub parents: Vec<TicketId>,
}

/// What tickets point to, as it is now. What is gone is missing.
#[derive(Clone, Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct TicketFacts {
    pub templates: Vec<TemplateFact>,
    pub sizes: Vec<SizeRecord>,
    pub vms: Vec<VmFact>,
    pub children: Vec<ChildCount>,
}

/// A template version, without its content.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct TemplateFact {
    pub id: TemplateId,
    pub name: String,
    pub version: i32,
    pub status: TemplateStatus,
}

/// A machine.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct VmFact {
    pub id: VmId,
    pub name: String,
    pub status: VmStatus,
    pub cluster_id: ClusterId,
}

/// How many children a ticket has.
#[derive(Clone, Copy, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct ChildCount {
    pub ticket_id: TicketId,
    pub count: i64,
}

/// Where a requester may ask for machines.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RequestPlaces {
    /// Enabled namespaces by name, at most [`MAX_OFFERED`].
    pub namespaces: Vec<OfferedNamespace>,
    /// Services by the name of their System and their own, at most [`MAX_OFFERED`].
    pub services: Vec<OfferedService>,
}

/// A namespace that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct OfferedNamespace {
    pub name: String,
    pub environment: Environment,
}

/// A Service that machines can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct OfferedService {
    pub id: ServiceId,
    pub name: String,
    pub system_id: SystemId,
    pub system_name: String,
}

/// Reads what approvers and requesters start from.
#[async_trait]
pub trait WorkbenchQueries: Send + Sync {
    /// Pending tickets that are no children, most urgent first: the oldest first, then by id. The counts are of
    /// everything the filter shows.
    async fn workbench(
        &self,
        view: &WorkbenchView,
        filter: &WorkbenchFilter,
        page: PageRequest,
    ) -> Result<(Page<TicketRecord>, TierCounts), RepositoryError>;
    /// What tickets point to, in one statement however many there are.
    async fn ticket_facts(&self, references: &TicketReferences) -> Result<TicketFacts, RepositoryError>;
    /// Enabled namespaces of these environments, and the Services of these Systems; `None` means of all Systems.
    async fn request_places(
        &self,
        environments: EnvironmentSet,
        systems: Option<&[SystemId]>,
    ) -> Result<RequestPlaces, RepositoryError>;
}
