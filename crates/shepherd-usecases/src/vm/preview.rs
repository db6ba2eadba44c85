//! The dry run at submission, against the cluster that would be picked first.

use shepherd_domain::Environment;
use shepherd_domain::catalog::{InstanceSize, TemplateSpec};
use shepherd_domain::ids::{ClusterId, UserId};
use shepherd_domain::naming::VmName;
use shepherd_domain::placement;
use shepherd_domain::problem::{Problem, Warning, WarningCode};
use shepherd_domain::rendering::{Placement, RenderInput, VmIdentity};
use shepherd_domain::spec::EffectiveNumbers;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::tickets::ServiceFacts;

use super::dry_run::{self, DryRun};
use crate::cluster::gate;
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

/// What a preview found.
pub struct Previewed {
    /// The cluster that judged the sample; none when there is none, or it did not answer.
    pub cluster: Option<ClusterId>,
    /// Findings that do not stop a request.
    pub warnings: Vec<Warning>,
}

/// Renders a sample and asks the preview cluster: the one that is named, else the one that would be picked first.
/// Without one, or when it does not answer, the request goes on with a warning.
///
/// # Errors
/// CLUSTER_UNHEALTHY and the like about a cluster that was named and does not fit; DRY_RUN_REJECTED.
pub async fn run(
    platform: &Platform,
    sample: &Sample<'_>,
    named: Option<ClusterRecord>,
) -> Result<Previewed, UseCaseError> {
    let chosen = match named {
        Some(cluster) => {
            let candidate = cluster.candidate();
            candidate.admit(sample.namespace, sample.environment, sample.size)?;
            Some(cluster)
        }
        None => best(platform, sample).await?,
    };
    let Some(cluster) = &chosen else {
        return Ok(Previewed {
            cluster: None,
            warnings: vec![Warning::new(WarningCode::PreviewUnavailable)],
        });
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
        guest_password: None,
    });
    match dry_run::ask(platform, cluster, sample.namespace, &document).await {
        DryRun::Accepted(warnings) => Ok(Previewed {
            cluster: Some(cluster.id),
            warnings,
        }),
        DryRun::Rejected(problem) => Err(Problem::into(problem)),
        DryRun::Unreachable => Ok(Previewed {
            cluster: None,
            warnings: vec![Warning::new(WarningCode::PreviewUnavailable).with("cluster", cluster.name.as_str())],
        }),
    }
}

async fn best(platform: &Platform, sample: &Sample<'_>) -> Result<Option<ClusterRecord>, UseCaseError> {
    let mut clusters = platform.read.enabled_clusters().await?;
    clusters.retain(|cluster| gate::open(cluster).is_ok());
    let candidates: Vec<_> = clusters.iter().map(ClusterRecord::candidate).collect();
    let best = placement::eligible(&candidates, sample.namespace, sample.environment, sample.size)
        .first()
        .map(|candidate| candidate.id);
    Ok(best.and_then(|id| clusters.into_iter().find(|cluster| cluster.id == id)))
}
