//! The items of a batch: what they ask for, what is left of them once they have passed their checks, and how those are
//! refused that have not.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::batch::BatchKind;
use shepherd_domain::event::AggregateType;
use shepherd_domain::ids::{InstanceSizeId, ServiceId, SystemId, TemplateId, VmId};
use shepherd_domain::policy::PolicyFacts;
use shepherd_domain::problem::{ErrorCode, FieldError, Problem};
use shepherd_domain::ticket::RequestType;
use shepherd_domain::vm::PowerAction;
use shepherd_ports::tickets::TicketContext;

use crate::execution::Placed;
use crate::vm::request::{Checked, RequestVm};

/// What a batch asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// New machines. An item without a reason has that of the batch.
    Create(Vec<RequestVm>),
    /// The end of machines.
    Delete(Vec<OnMachine>),
    /// The same for the power of all machines.
    Power(PowerAction, Vec<OnMachine>),
}

/// An item about an existing machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnMachine {
    /// The machine.
    pub vm: VmId,
    /// Why, at most 1024 characters; absent takes the reason of the batch.
    pub reason: Option<String>,
}

/// What whoever submits a batch of this kind must hold.
pub fn permission(kind: BatchKind) -> Permission {
    match kind {
        BatchKind::Create => Permission::VmCreate,
        BatchKind::Delete => Permission::VmDelete,
        BatchKind::Power => Permission::VmOperate,
    }
}

impl Asked {
    /// The kind of batch.
    pub fn kind(&self) -> BatchKind {
        match self {
            Self::Create(_) => BatchKind::Create,
            Self::Delete(_) => BatchKind::Delete,
            Self::Power(..) => BatchKind::Power,
        }
    }

    /// What is done to the power of the machines.
    pub(super) fn power(&self) -> Option<PowerAction> {
        match self {
            Self::Power(action, _) => Some(*action),
            Self::Create(_) | Self::Delete(_) => None,
        }
    }

    /// The operation on the wire, of the batch as of each of its items.
    pub(super) fn operation(&self) -> &'static str {
        self.request().operation_type()
    }

    /// What each item asks for.
    pub(super) fn request(&self) -> RequestType {
        match self {
            Self::Create(_) => RequestType::CreateVm,
            Self::Delete(_) => RequestType::DeleteVm,
            Self::Power(action, _) => action.request_type(),
        }
    }

    /// How many items there are.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Create(items) => items.len(),
            Self::Delete(items) | Self::Power(_, items) => items.len(),
        }
    }

    /// The machines of items about existing ones.
    pub(super) fn machines(&self) -> &[OnMachine] {
        match self {
            Self::Create(_) => &[],
            Self::Delete(items) | Self::Power(_, items) => items,
        }
    }

    /// Gives the items without a reason that of the batch.
    #[must_use]
    pub(super) fn with_reason(mut self, reason: Option<&str>) -> Self {
        match &mut self {
            Self::Create(items) => {
                for item in items.iter_mut().filter(|item| item.reason.trim().is_empty()) {
                    reason.unwrap_or_default().clone_into(&mut item.reason);
                }
            }
            Self::Delete(items) | Self::Power(_, items) => {
                for item in items.iter_mut().filter(|item| is_blank(item.reason.as_deref())) {
                    item.reason = reason.map(str::to_owned);
                }
            }
        }
        self
    }

    /// The items as they are compared with those of an earlier submission.
    pub(super) fn content(&self) -> Value {
        match self {
            Self::Create(items) => items
                .iter()
                .map(|item| {
                    json!({"service_id": item.service, "namespace": item.namespace, "template_id": item.template,
                        "instance_size_id": item.size, "disk_gb": item.disk_gb, "reason": item.reason.trim()})
                })
                .collect(),
            Self::Delete(items) | Self::Power(_, items) => items
                .iter()
                .map(|item| json!({"vm_id": item.vm, "reason": item.reason.as_deref().map(str::trim)}))
                .collect(),
        }
    }
}

fn is_blank(reason: Option<&str>) -> bool {
    reason.is_none_or(|reason| reason.trim().is_empty())
}

/// One request of a batch that passed its checks.
pub(super) struct Child {
    pub(super) request: RequestType,
    pub(super) aggregate: (AggregateType, String),
    pub(super) payload: Value,
    pub(super) environment: Environment,
    pub(super) reason: Option<String>,
    pub(super) system: SystemId,
    pub(super) service: ServiceId,
    pub(super) vm: Option<VmId>,
    pub(super) template: Option<TemplateId>,
    pub(super) size: Option<InstanceSizeId>,
    pub(super) namespace: String,
    pub(super) context: TicketContext,
    /// The machine, or of a new one the Service.
    pub(super) name: String,
    /// What the policies know of it, as a part of its batch.
    pub(super) facts: PolicyFacts,
    /// Where it goes, when that is known from the beginning and was checked.
    pub(super) placed: Option<Placed>,
    /// Of a new machine what it was checked against, and stays as it is until the submission is written.
    pub(super) created: Option<Box<(RequestVm, Checked)>>,
}

/// Items that are refused, each as the same request would be that is about this item alone.
#[derive(Default)]
pub(super) struct Refusals(Vec<FieldError>);

impl Refusals {
    /// Refuses an item because of one of its fields. What is wrong with its form names the field by itself.
    pub(super) fn add(&mut self, index: usize, field: &str, refusal: Problem) {
        if refusal.code == ErrorCode::ValidationFailed {
            self.0.extend(refusal.field_errors.into_iter().map(|error| FieldError {
                field: format!("items[{index}].{}", error.field),
                ..error
            }));
        } else {
            self.0
                .push(FieldError::of_item(format!("items[{index}].{field}"), refusal));
        }
    }

    /// Refuses the items as a whole, when it is not known which of them is at fault.
    pub(super) fn add_all(&mut self, refusal: Problem) {
        self.0.push(FieldError::of_item("items", refusal));
    }

    /// Whether nothing is refused.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// INVALID_BATCH_ITEMS.
    pub(super) fn into_problem(self) -> Problem {
        Problem {
            field_errors: self.0,
            ..Problem::new(ErrorCode::InvalidBatchItems)
        }
    }

    /// INVALID_BATCH_ITEMS unless nothing is refused.
    pub(super) fn unless_any<T>(self, passed: T) -> Result<T, Problem> {
        if self.is_empty() {
            Ok(passed)
        } else {
            Err(self.into_problem())
        }
    }
}

/// Every value once.
pub(super) fn distinct<T: Ord>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    values.into_iter().collect::<BTreeSet<T>>().into_iter().collect()
}
