//! The dry run at submission, against the cluster that would be picked first.

use shepherd_domain::Environment;
use shepherd_domain::catalog::{InstanceSize, TemplateSpec};
use shepherd_domain::ids::UserId;
use shepherd_domain::naming::VmName;
use shepherd_domain::placement;
use shepherd_domain::problem::{Problem, Warning, WarningCode};
use shepherd_domain::rendering::{Placement, RenderInput, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_ports::tickets::ServiceFacts;

use super::dry_run::{self, DryRun};
use crate::{Platform, UseCaseError};

/// What would be created.
pub struct Sample<'a> {
    /// Who asks.
    pub requester: UserId,
    /// For which Service.
    pub service: &'a ServiceFacts,
    /// Where.
    pub namespace: &'a str,
    /// In which environment.
    pub environment: Environment,
    /// The template.
    pub template: &'a TemplateSpec,
    /// The size.
    pub size: &'a InstanceSize,
    /// The numbers.
    pub numbers: EffectiveNumbers,
    /// The name it would get next.
    pub name: &'a VmName,
}

/// Renders a sample and asks the preview cluster. Without one, or when it does not answer, the request goes on with a
/// warning.
///
/// # Errors
/// DRY_RUN_REJECTED.
pub async fn run(platform: &Platform, sample: &Sample<'_>) -> Result<Vec<Warning>, UseCaseError> {
    let clusters = platform.read.enabled_clusters().await?;
    let candidates: Vec<_> = clusters
        .iter()
        .map(shepherd_ports::clusters::ClusterRecord::candidate)
        .collect();
    let best = placement::eligible(&candidates, sample.namespace, sample.environment, sample.size)
        .first()
        .map(|candidate| candidate.id);
    let Some(cluster) = best.and_then(|id| clusters.iter().find(|cluster| cluster.id == id)) else {
        return Ok(vec![Warning::new(WarningCode::PreviewUnavailable)]);
    };
    let identity = VmIdentity {
        vm_id: platform.ids.id(),
        event_id: platform.ids.id(),
        name: sample.name.as_str().to_owned(),
        namespace: sample.namespace.to_owned(),
        system: sample.service.system_name.clone(),
        service: sample.service.name.clone(),
        instance: sample.name.instance().to_owned(),
        ticket_number: "TKT-000000".to_owned(),
        created_by: sample.requester,
        revision: 1,
    };
    let document = platform.renderer.render(&RenderInput {
        identity: &identity,
        template: sample.template,
        size: sample.size,
        numbers: sample.numbers,
        placement: &Placement {
            storage_class: cluster.effective_storage_class().map(str::to_owned),
        },
        run_strategy: "Always",
    });
    match dry_run::ask(platform, cluster, sample.namespace, &document).await {
        DryRun::Accepted(warnings) => Ok(warnings),
        DryRun::Rejected(problem) => Err(Problem::into(problem)),
        DryRun::Unreachable => Ok(vec![
            Warning::new(WarningCode::PreviewUnavailable).with("cluster", cluster.name.as_str()),
        ]),
    }
}
