//! The validation of a template before it is saved (catalog.md §1): syntax, a machine that is rendered and held against
//! the newest schema, and the same machine shown to a cluster.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use shepherd_domain::Environment;
use shepherd_domain::catalog::{InstanceSize, SpecOverrides, TemplateSpec};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::placement;
use shepherd_domain::problem::{ErrorCode, Problem, Warning, WarningCode};
use shepherd_domain::schema::{SchemaFinding, VmSchema};
use shepherd_ports::clusters::ClusterRecord;

use super::sample;
use crate::schema;
use crate::vm::dry_run::{self, DryRun};
use crate::{Platform, UseCaseError};

const SYNTAX: &str = "syntax";
const MOCK_RENDER: &str = "mock_render";
const DRY_RUN: &str = "dry_run";

/// What one step found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// `syntax`, `mock_render` or `dry_run`.
    pub name: &'static str,
    /// Whether the template passed.
    pub ok: bool,
    /// Why it did not.
    pub errors: Vec<Problem>,
}

impl Step {
    fn of(name: &'static str, errors: Vec<Problem>) -> Self {
        Self {
            name,
            ok: errors.is_empty(),
            errors,
        }
    }
}

/// What a validation found. The first step that fails is the last one; a dry run that no cluster could be asked for is
/// left out and warned about.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The steps that were taken, in order.
    pub steps: Vec<Step>,
    /// PREVIEW_UNAVAILABLE, DRY_RUN_SLOW, SCHEMA_FALLBACK.
    pub warnings: Vec<Warning>,
}

impl Verdict {
    /// Whether no step failed.
    pub fn is_valid(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    /// Whether there is nothing left to find out.
    pub(super) fn is_final(&self) -> bool {
        !self.is_valid() || self.steps.iter().any(|step| step.name == DRY_RUN)
    }

    /// The time of the validation, when all of it was passed.
    pub(super) fn validated_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        (self.is_valid() && self.is_final()).then_some(now)
    }
}

/// What templates are held against. It is found out once, however many there are.
pub(super) struct Checks {
    schema: Arc<VmSchema>,
    fallback: bool,
    size: InstanceSize,
    /// Who is asked; `None` once nobody answers.
    cluster: Option<ClusterRecord>,
}

impl Checks {
    /// Against the newest schema, and the cluster of environment test that a machine would go to first.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn prepare(platform: &Platform) -> Result<Self, UseCaseError> {
        let mut checks = Self::without_cluster(platform).await?;
        let clusters = platform.read.enabled_clusters().await?;
        let candidates: Vec<_> = clusters.iter().map(ClusterRecord::candidate).collect();
        let best = placement::eligible(&candidates, sample::NAMESPACE, Environment::Test, &checks.size)
            .first()
            .map(|candidate| candidate.id);
        checks.cluster = best.and_then(|id| clusters.into_iter().find(|cluster| cluster.id == id));
        Ok(checks)
    }

    /// Against the newest schema alone.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn without_cluster(platform: &Platform) -> Result<Self, UseCaseError> {
        let known = schema::newest(platform).await?;
        let mut size = sample::size(platform).await?;
        // What a size sets by itself is the size's to answer for.
        size.spec_overrides = SpecOverrides::default();
        Ok(Self {
            schema: known.schema,
            fallback: known.fallback,
            size,
            cluster: None,
        })
    }

    /// Against the newest schema, and a cluster that somebody chose.
    ///
    /// # Errors
    /// CLUSTER_NOT_FOUND.
    pub(super) async fn on(platform: &Platform, id: ClusterId) -> Result<Self, UseCaseError> {
        let chosen = platform.read.get_cluster(id).await?;
        let chosen = chosen.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, id))?;
        let mut checks = Self::without_cluster(platform).await?;
        let usable = chosen.enabled && chosen.candidate().admit_health().is_ok();
        checks.cluster = usable.then_some(chosen);
        Ok(checks)
    }

    /// Runs all steps. No transaction is open meanwhile.
    pub(super) async fn run(&mut self, platform: &Platform, spec: &TemplateSpec) -> Verdict {
        let mut verdict = Verdict {
            steps: vec![Step::of(SYNTAX, syntax(spec))],
            warnings: Vec::new(),
        };
        if !verdict.is_valid() {
            return verdict;
        }
        if self.fallback {
            verdict.warnings.push(Warning::new(WarningCode::SchemaFallback));
        }
        let findings = mock_render(platform, spec, &self.size, &self.schema);
        let version = self.schema.minor_version();
        let problems = findings.into_iter().map(|finding| finding.problem(version));
        verdict.steps.push(Step::of(MOCK_RENDER, problems.collect()));
        if verdict.is_valid() {
            self.preview(platform, spec, &mut verdict).await;
        }
        verdict
    }

    /// Runs all steps, and refuses what fails one.
    ///
    /// # Errors
    /// TEMPLATE_VALIDATION_FAILED{steps}.
    pub(super) async fn passed(&mut self, platform: &Platform, spec: &TemplateSpec) -> Result<Verdict, UseCaseError> {
        let verdict = self.run(platform, spec).await;
        if verdict.is_valid() {
            return Ok(verdict);
        }
        let steps = serde_json::to_value(&verdict.steps).map_err(|source| UseCaseError::Stored {
            what: "verdict",
            source,
        })?;
        Err(Problem::new(ErrorCode::TemplateValidationFailed)
            .with("steps", steps)
            .into())
    }

    async fn preview(&mut self, platform: &Platform, spec: &TemplateSpec, verdict: &mut Verdict) {
        let Some(cluster) = &self.cluster else {
            verdict.warnings.push(Warning::new(WarningCode::PreviewUnavailable));
            return;
        };
        match ask(platform, cluster, spec, &self.size).await {
            Preview::Accepted(warnings) => {
                verdict.steps.push(Step::of(DRY_RUN, Vec::new()));
                verdict.warnings.extend(warnings);
            }
            Preview::Refused(problem) => verdict.steps.push(Step::of(DRY_RUN, vec![problem])),
            Preview::Unavailable => {
                let warning = Warning::new(WarningCode::PreviewUnavailable).with("cluster", cluster.name.as_str());
                verdict.warnings.push(warning);
                // Whoever is next need not wait for it again.
                self.cluster = None;
            }
        }
    }
}

/// A spec that was stored by an earlier version of the platform may say what this one prohibits.
fn syntax(spec: &TemplateSpec) -> Vec<Problem> {
    TemplateSpec::parse(&spec.to_canonical()).err().into_iter().collect()
}

/// Renders the sample of a template on a size and holds it against a schema.
pub(crate) fn mock_render(
    platform: &Platform,
    template: &TemplateSpec,
    size: &InstanceSize,
    schema: &VmSchema,
) -> Vec<SchemaFinding> {
    schema.check_document(&sample::document(platform, template, size, None).object)
}

/// What a cluster says about a template.
enum Preview {
    Accepted(Vec<Warning>),
    Refused(Problem),
    Unavailable,
}

async fn ask(platform: &Platform, cluster: &ClusterRecord, spec: &TemplateSpec, size: &InstanceSize) -> Preview {
    let storage_class = cluster.effective_storage_class().map(str::to_owned);
    let document = sample::document(platform, spec, size, storage_class);
    match dry_run::ask(platform, cluster, sample::NAMESPACE, &document).await {
        // Without its namespace the server has not looked at the object.
        DryRun::Accepted(warnings)
            if warnings
                .iter()
                .any(|warning| warning.code == WarningCode::NamespaceWillBeCreated) =>
        {
            Preview::Unavailable
        }
        DryRun::Accepted(warnings) => Preview::Accepted(warnings),
        DryRun::Rejected(problem) if is_about_room(&problem) => Preview::Unavailable,
        DryRun::Rejected(problem) => Preview::Refused(problem),
        DryRun::Unreachable => Preview::Unavailable,
    }
}

/// How full a namespace is says nothing about a template.
fn is_about_room(problem: &Problem) -> bool {
    problem
        .params
        .get("k8s_reason")
        .is_some_and(|reason| reason == "QuotaExceeded")
}
