//! What is asked for when a batch is submitted.

use serde::Deserialize;
use shepherd_domain::batch::{BatchKind, InvalidBatchReason};
use shepherd_domain::ids::{BatchRequestId, InstanceSizeId, ServiceId, TemplateId, VmId};
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_domain::vm::PowerAction;
use shepherd_usecases::batch::submit::{Asked, OnMachine, SubmitBatch};
use shepherd_usecases::vm::request::RequestVm;
use utoipa::ToSchema;
use uuid::Uuid;

/// Several machines that are asked for, or whose deletion is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "operation": "DELETE", "request_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10", "reason": "the load test is over",
    "items": [{"vm_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a11"}, {"vm_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a12"}]
}))]
pub(super) struct BatchRequest {
    /// CREATE or DELETE.
    #[schema(min_length = 1, max_length = 32)]
    operation: String,
    /// Names the submission, so that it can be repeated.
    request_id: Option<Uuid>,
    /// Why; items without a reason have this one.
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Every item is refused as the request about it alone would be, and then so is the batch.
    #[schema(max_items = 500)]
    items: Vec<BatchItem>,
}

/// One machine: for CREATE everything but `vm_id`, for DELETE that and the reason.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchItem {
    service_id: Option<Uuid>,
    template_id: Option<Uuid>,
    instance_size_id: Option<Uuid>,
    /// A registered namespace.
    #[schema(min_length = 1, max_length = 63)]
    namespace: Option<String>,
    /// Disk in GiB; absent takes the size's.
    #[schema(minimum = 1, maximum = 1048576)]
    disk_gb: Option<i32>,
    vm_id: Option<Uuid>,
    /// Why; absent takes the reason of the batch.
    #[schema(max_length = 1024)]
    reason: Option<String>,
}

/// Several machines that are to be started, stopped or restarted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "operation": "RESTART", "reason": "new kernel",
    "items": [{"vm_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a11"}, {"vm_id": "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a12"}]
}))]
pub(super) struct BatchPowerRequest {
    /// START, STOP or RESTART.
    #[schema(min_length = 1, max_length = 32)]
    operation: String,
    /// Names the submission, so that it can be repeated.
    request_id: Option<Uuid>,
    /// Why; items without a reason have this one.
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Every item is refused as the request about it alone would be, and then so is the batch.
    #[schema(max_items = 500)]
    items: Vec<BatchPowerItem>,
}

/// One machine.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BatchPowerItem {
    vm_id: Uuid,
    /// Why; absent takes the reason of the batch.
    #[schema(max_length = 1024)]
    reason: Option<String>,
}

impl BatchRequest {
    /// What kind of batch it is.
    ///
    /// # Errors
    /// INVALID_BATCH_REQUEST{reason: unsupported_operation}.
    pub(super) fn kind(&self) -> Result<BatchKind, Problem> {
        match self.operation.as_str() {
            "CREATE" => Ok(BatchKind::Create),
            "DELETE" => Ok(BatchKind::Delete),
            _ => Err(InvalidBatchReason::UnsupportedOperation.problem()),
        }
    }

    /// What is asked for.
    ///
    /// # Errors
    /// INVALID_REQUEST_FIELD for what an item of this kind does not have; VALIDATION_FAILED with all that is missing.
    pub(super) fn command(self, kind: BatchKind) -> Result<SubmitBatch, Problem> {
        let items = self.items.into_iter().enumerate();
        let asked = match kind {
            BatchKind::Create => Asked::Create(all(items.map(|(index, item)| item.new_machine(index)))?),
            BatchKind::Delete => Asked::Delete(all(items.map(|(index, item)| item.machine(index)))?),
            BatchKind::Power => return Err(InvalidBatchReason::UnsupportedOperation.problem()),
        };
        Ok(SubmitBatch {
            request_id: self.request_id.map(BatchRequestId::from_uuid),
            reason: self.reason,
            asked,
        })
    }
}

impl BatchItem {
    fn new_machine(self, index: usize) -> Result<RequestVm, Problem> {
        refuse(index, "vm_id", self.vm_id.is_some())?;
        match (self.service_id, self.template_id, self.instance_size_id, self.namespace) {
            (Some(service), Some(template), Some(size), Some(namespace)) => Ok(RequestVm {
                service: ServiceId::from_uuid(service),
                template: TemplateId::from_uuid(template),
                size: InstanceSizeId::from_uuid(size),
                namespace,
                disk_gb: self.disk_gb,
                // Whether there is one is known once the reason of the batch is looked at.
                reason: self.reason.unwrap_or_default(),
            }),
            (service, template, size, namespace) => Err(missing(
                index,
                [
                    ("service_id", service.is_none()),
                    ("template_id", template.is_none()),
                    ("instance_size_id", size.is_none()),
                    ("namespace", namespace.is_none()),
                ],
            )),
        }
    }

    fn machine(self, index: usize) -> Result<OnMachine, Problem> {
        refuse(index, "service_id", self.service_id.is_some())?;
        refuse(index, "template_id", self.template_id.is_some())?;
        refuse(index, "instance_size_id", self.instance_size_id.is_some())?;
        refuse(index, "namespace", self.namespace.is_some())?;
        refuse(index, "disk_gb", self.disk_gb.is_some())?;
        match self.vm_id {
            Some(vm) => Ok(OnMachine {
                vm: VmId::from_uuid(vm),
                reason: self.reason,
            }),
            None => Err(missing(index, [("vm_id", true)])),
        }
    }
}

impl BatchPowerRequest {
    /// What is asked for.
    ///
    /// # Errors
    /// INVALID_BATCH_REQUEST{reason: unsupported_operation}.
    pub(super) fn command(self) -> Result<SubmitBatch, Problem> {
        let action = self.operation.parse::<PowerAction>();
        let action = action.map_err(|_| InvalidBatchReason::UnsupportedOperation.problem())?;
        let items = self.items.into_iter().map(|item| OnMachine {
            vm: VmId::from_uuid(item.vm_id),
            reason: item.reason,
        });
        Ok(SubmitBatch {
            request_id: self.request_id.map(BatchRequestId::from_uuid),
            reason: self.reason,
            asked: Asked::Power(action, items.collect()),
        })
    }
}

/// INVALID_REQUEST_FIELD for a key that is there and should not be.
fn refuse(index: usize, field: &str, present: bool) -> Result<(), Problem> {
    if present {
        Err(Problem::unknown_field(format!("items[{index}].{field}")))
    } else {
        Ok(())
    }
}

/// VALIDATION_FAILED for the keys that are missing.
fn missing<const N: usize>(index: usize, fields: [(&str, bool); N]) -> Problem {
    let missing = fields.into_iter().filter(|(_, missing)| *missing);
    Problem::invalid(
        missing
            .map(|(field, _)| FieldError::new(format!("items[{index}].{field}"), FieldCode::Required))
            .collect(),
    )
}

/// All items, or everything that is missing in any of them.
fn all<T>(items: impl Iterator<Item = Result<T, Problem>>) -> Result<Vec<T>, Problem> {
    let mut good = Vec::new();
    let mut errors = Vec::new();
    for item in items {
        match item {
            Ok(item) => good.push(item),
            Err(problem) if problem.field_errors.is_empty() => return Err(problem),
            Err(problem) => errors.extend(problem.field_errors),
        }
    }
    if errors.is_empty() {
        Ok(good)
    } else {
        Err(Problem::invalid(errors))
    }
}
