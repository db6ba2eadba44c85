//! A size is tried without being stored: everything that a write checks, and a cluster's opinion of a machine of it.

use serde::Serialize;
use shepherd_domain::Environment;
use shepherd_domain::access::Permission;
use shepherd_domain::catalog::{InstanceSize, SizeDraft, SizePatch, TemplateSpec, TemplateStatus};
use shepherd_domain::ids::{ClusterId, InstanceSizeId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::placement;
use shepherd_domain::problem::{FieldCode, Problem, WarningCode};
use shepherd_domain::rendering::VmDocument;
use shepherd_domain::schema::VmSchema;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::context::Caller;
use shepherd_ports::templates::TemplateFilter;

use super::{create, update, validation};
use crate::identity::account;
use crate::schema;
use crate::template::sample;
use crate::vm::dry_run::{self, DryRun};
use crate::{Platform, UseCaseError};

/// What came of it. What a write would refuse is no outcome but the same refusal.
#[derive(Clone, Debug, PartialEq)]
pub struct SizeDryRun {
    /// Why a machine of this size would not come to be.
    pub errors: Vec<Problem>,
    /// The machine that was tried.
    pub rendered_yaml: String,
    /// Enabled clusters of either environment that have what the size needs and know what it sets, by name.
    pub compatible_clusters: Vec<CompatibleCluster>,
    /// What a cluster says about the machine.
    pub cluster_validation: ClusterValidation,
}

/// A cluster that a machine of the size could go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompatibleCluster {
    /// Which one.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
}

/// What a cluster says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterValidation {
    /// Who was asked; `None` when there was nobody to ask.
    pub cluster: Option<ClusterId>,
    /// What it runs, as far as it is known.
    pub kubevirt_version: Option<String>,
    /// What it said.
    pub verdict: ClusterVerdict,
}

/// The verdict of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterVerdict {
    /// It would take the machine.
    Valid,
    /// It would not.
    Rejected,
    /// It did not answer.
    Unreachable,
    /// None was asked, or it did not look at the machine.
    Skipped,
}

/// Tries a size that is to be created.
///
/// # Errors
/// Those of the creation; VALIDATION_FAILED with NOT_FOUND for `targetCluster` when no enabled cluster has the id.
pub async fn of_new(
    platform: &Platform,
    caller: &Caller,
    draft: SizeDraft,
    target: Option<ClusterId>,
) -> Result<SizeDryRun, UseCaseError> {
    account::require_everywhere(caller, Permission::InstanceSizeWrite)?;
    let clusters = clusters(platform, target).await?;
    let size = draft.into_size(platform.ids.id())?;
    validation::on_all_clusters(platform, &size).await?;
    require_free(platform, &size.name).await?;
    try_out(platform, &size, &clusters, target).await
}

/// Tries the change of a size.
///
/// # Errors
/// Those of the change; VALIDATION_FAILED with NOT_FOUND for `targetCluster` when no enabled cluster has the id.
pub async fn of_change(
    platform: &Platform,
    caller: &Caller,
    id: InstanceSizeId,
    patch: SizePatch,
    version: Option<i64>,
    target: Option<ClusterId>,
) -> Result<SizeDryRun, UseCaseError> {
    let before = super::visible(platform, caller, Permission::InstanceSizeWrite, id).await?;
    let clusters = clusters(platform, target).await?;
    let name = before.size.name.clone();
    let size = update::merged(before, patch, version)?;
    validation::on_all_clusters(platform, &size).await?;
    if size.name != name {
        require_free(platform, &size.name).await?;
    }
    try_out(platform, &size, &clusters, target).await
}

async fn clusters(platform: &Platform, target: Option<ClusterId>) -> Result<Vec<ClusterRecord>, UseCaseError> {
    let clusters = platform.read.enabled_clusters().await?;
    match target {
        Some(id) if !clusters.iter().any(|cluster| cluster.id == id) => {
            Err(Problem::invalid_field("targetCluster", FieldCode::NotFound).into())
        }
        Some(_) | None => Ok(clusters),
    }
}

async fn require_free(platform: &Platform, name: &str) -> Result<(), UseCaseError> {
    if create::exists(platform, name).await? {
        return Err(super::name_exists(name).into());
    }
    Ok(())
}

async fn try_out(
    platform: &Platform,
    size: &InstanceSize,
    clusters: &[ClusterRecord],
    target: Option<ClusterId>,
) -> Result<SizeDryRun, UseCaseError> {
    let template = template(platform).await?;
    let asked = match target {
        Some(id) => clusters.iter().find(|cluster| cluster.id == id),
        None => preview(clusters, size),
    };
    let storage_class = asked.and_then(ClusterRecord::effective_storage_class);
    let document = sample::document(platform, &template, size, storage_class.map(str::to_owned));
    let newest = schema::newest(platform).await?;
    let mut errors = findings(&newest.schema, &document);
    let (verdict, refusal) = match asked {
        Some(cluster) => ask(platform, cluster, &document).await,
        None => (ClusterVerdict::Skipped, None),
    };
    errors.extend(refusal);
    Ok(SizeDryRun {
        errors,
        rendered_yaml: platform.renderer.to_yaml(&document),
        compatible_clusters: compatible(platform, size, clusters, &document).await?,
        cluster_validation: ClusterValidation {
            cluster: asked.map(|cluster| cluster.id),
            kubevirt_version: asked.and_then(|cluster| cluster.kubevirt_version.clone()),
            verdict,
        },
    })
}

/// The cluster of environment test that a machine would go to first.
fn preview<'a>(clusters: &'a [ClusterRecord], size: &InstanceSize) -> Option<&'a ClusterRecord> {
    let candidates: Vec<_> = clusters.iter().map(ClusterRecord::candidate).collect();
    let best = placement::eligible(&candidates, sample::NAMESPACE, Environment::Test, size)
        .first()
        .map(|candidate| candidate.id)?;
    clusters.iter().find(|cluster| cluster.id == best)
}

/// The software that sizes are tried with: of the templates that are offered the first by name, or a plain one.
async fn template(platform: &Platform) -> Result<TemplateSpec, UseCaseError> {
    let filter = TemplateFilter {
        status: Some(TemplateStatus::Active),
        ..TemplateFilter::default()
    };
    let offered = platform.read.list_templates(&filter, PageRequest::default()).await?;
    match offered.items.into_iter().next() {
        Some(template) => Ok(template.spec),
        None => Ok(TemplateSpec::parse(&serde_json::json!({
            "image_source": {"container_disk": {"image": "quay.io/containerdisks/debian:13"}},
        }))?),
    }
}

fn findings(schema: &VmSchema, document: &VmDocument) -> Vec<Problem> {
    let found = schema.check_document(&document.object).into_iter();
    found.map(|finding| finding.problem(schema.minor_version())).collect()
}

async fn ask(platform: &Platform, cluster: &ClusterRecord, document: &VmDocument) -> (ClusterVerdict, Option<Problem>) {
    match dry_run::ask(platform, cluster, sample::NAMESPACE, document).await {
        // Without its namespace the server has not looked at the object.
        DryRun::Accepted(warnings)
            if warnings
                .iter()
                .any(|warning| warning.code == WarningCode::NamespaceWillBeCreated) =>
        {
            (ClusterVerdict::Skipped, None)
        }
        DryRun::Accepted(_) => (ClusterVerdict::Valid, None),
        // How full a namespace is says nothing about a size.
        DryRun::Rejected(problem)
            if problem
                .params
                .get("k8s_reason")
                .is_some_and(|reason| reason == "QuotaExceeded") =>
        {
            (ClusterVerdict::Skipped, None)
        }
        DryRun::Rejected(problem) => (ClusterVerdict::Rejected, Some(problem)),
        DryRun::Unreachable => (ClusterVerdict::Unreachable, None),
    }
}

/// A cluster of which nobody knows what it runs is not counted.
async fn compatible(
    platform: &Platform,
    size: &InstanceSize,
    clusters: &[ClusterRecord],
    document: &VmDocument,
) -> Result<Vec<CompatibleCluster>, UseCaseError> {
    let mut found = Vec::new();
    for cluster in clusters {
        let Some(version) = &cluster.kubevirt_version else {
            continue;
        };
        if !cluster.detected_capabilities.missing(&size.capabilities).is_empty() {
            continue;
        }
        let known = schema::of_version(platform, version).await?;
        if known.schema.check_document(&document.object).is_empty() {
            found.push(CompatibleCluster {
                id: cluster.id,
                name: cluster.name.clone(),
            });
        }
    }
    Ok(found)
}
