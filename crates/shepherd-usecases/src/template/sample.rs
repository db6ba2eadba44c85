//! The machine that templates and sizes are tried with. It has fixed names and is never made.

use serde_json::json;
use shepherd_domain::catalog::{InstanceSize, SizeDraft, TemplateSpec};
use shepherd_domain::ids::{EventId, InstanceSizeId, UserId, VmId};
use shepherd_domain::rendering::{Placement, RenderInput, VmDocument, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;

use crate::{Platform, UseCaseError};

/// Where the sample would be: the namespace that every cluster has, because a cluster says nothing about an object in
/// one that it does not have.
pub(crate) const NAMESPACE: &str = "default";

/// Renders the sample of a template on a size.
pub(crate) fn document(
    platform: &Platform,
    template: &TemplateSpec,
    size: &InstanceSize,
    storage_class: Option<String>,
) -> VmDocument {
    let identity = VmIdentity {
        vm_id: VmId::from_bits(0),
        event_id: EventId::from_bits(0),
        name: format!("{NAMESPACE}-sample-sample-01"),
        namespace: NAMESPACE.to_owned(),
        system: "sample".to_owned(),
        service: "sample".to_owned(),
        instance: "01".to_owned(),
        ticket_number: "TKT-000000".to_owned(),
        created_by: UserId::from_bits(0),
        revision: 1,
    };
    platform.renderer.render(&RenderInput {
        identity: &identity,
        template,
        size,
        numbers: numbers(size),
        placement: &Placement { storage_class },
        run_strategy: "Always",
        guest_password: None,
    })
}

/// What somebody gets who asks for the size and nothing else.
fn numbers(size: &InstanceSize) -> EffectiveNumbers {
    EffectiveNumbers {
        cpu_cores: size.cpu_cores,
        cpu_request: size.cpu_request.unwrap_or(size.cpu_cores),
        memory_mb: size.memory_mb,
        memory_request_mb: size.memory_request_mb.unwrap_or(size.memory_mb),
        disk_gb: size.disk_gb,
    }
}

/// The size that templates are tried with: the smallest that is offered, or a small one when none is.
///
/// # Errors
/// When the store fails.
pub(crate) async fn size(platform: &Platform) -> Result<InstanceSize, UseCaseError> {
    let offered = platform.read.list_sizes(true).await?;
    let smallest = offered.into_iter().map(|record| record.size).min_by(|a, b| {
        // Of two that are equally small, the one that asks less of a cluster.
        let rank = |size: &InstanceSize| (size.cpu_cores, size.memory_mb, size.capabilities.len(), size.disk_gb);
        rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
    });
    smallest.map_or_else(built_in, Ok)
}

fn built_in() -> Result<InstanceSize, UseCaseError> {
    let draft = json!({
        "name": "sample", "cpu_cores": 1, "memory_mb": 1024, "disk_gb": 10, "min_disk_gb": 1, "max_disk_gb": 100,
    });
    let draft: SizeDraft = serde_json::from_value(draft).map_err(|source| UseCaseError::Stored {
        what: "sample size",
        source,
    })?;
    Ok(draft.into_size(InstanceSizeId::from_bits(0))?)
}
