//! Sizes and active templates, held against the schemas that count now.
//!
//! Everything is read and judged first, and stored by one statement each: a thousand sizes take moments. What somebody
//! changes meanwhile was validated by that change and is left alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use shepherd_domain::catalog::SpecOverrides;
use shepherd_domain::ids::TemplateId;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::schema::VmSchema;
use shepherd_ports::schemas::SizeVerdict;
use shepherd_ports::{RepositoryError, UnitOfWork};

use super::{KnownSchema, cache, look_up, versions};
use crate::{Platform, UseCaseError, instance_size, template};

/// Most names in an alert.
const NAMED: usize = 10;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alert {
    /// Every template that fails; a new schema is there.
    OfAll,
    /// Only what had passed until now.
    OfNews,
}

/// What was found.
pub(super) struct Findings {
    versions: Vec<String>,
    sizes: Vec<SizeVerdict>,
    templates: Vec<(TemplateId, String)>,
}

/// The schemas of enabled clusters that are known, together with one that is about to be.
pub(super) async fn schemas(
    platform: &Platform,
    fresh: Option<&Arc<VmSchema>>,
) -> Result<Vec<KnownSchema>, UseCaseError> {
    let mut all = versions(&platform.read.enabled_clusters().await?);
    if let Some(fresh) = fresh {
        all.remove(&fresh.version());
    }
    let mut schemas: Vec<Arc<VmSchema>> = fresh.into_iter().map(Arc::clone).collect();
    for version in all {
        // One that is not known is validated against when it comes.
        schemas.extend(look_up::known(platform, version).await?);
    }
    if schemas.is_empty() {
        schemas.push(cache::baseline());
    }
    let exact = |schema| KnownSchema {
        schema,
        fallback: false,
    };
    Ok(schemas.into_iter().map(exact).collect())
}

/// Holds all sizes and all active templates against schemas.
pub(super) async fn judge(platform: &Platform, schemas: &[KnownSchema]) -> Result<Findings, UseCaseError> {
    let records = platform.read.sizes_to_validate().await?;
    let mut sizes = Vec::with_capacity(records.len());
    for record in &records {
        let checked = instance_size::validation::check(&record.size, schemas);
        if let Err(problem) = &checked {
            tracing::warn!(size = %record.size.name, %problem, "a size does not fit the schemas of the clusters");
        }
        sizes.push(SizeVerdict {
            id: record.size.id,
            row_version: record.row_version,
            valid: checked.is_ok(),
        });
    }
    let versions = schemas.iter().map(|known| known.schema.minor_version().to_owned());
    Ok(Findings {
        versions: versions.collect(),
        sizes,
        templates: failing_templates(platform, schemas).await?,
    })
}

async fn failing_templates(
    platform: &Platform,
    schemas: &[KnownSchema],
) -> Result<Vec<(TemplateId, String)>, UseCaseError> {
    let mut size = template::sample::size(platform).await?;
    // What a size sets is the size's to answer for.
    size.spec_overrides = SpecOverrides::default();
    let mut failing = Vec::new();
    for active in platform.read.templates_to_validate().await? {
        let findings = schemas
            .iter()
            .map(|known| template::validation::mock_render(platform, &active.spec, &size, &known.schema));
        if let Some(first) = findings.flatten().next() {
            tracing::warn!(template = %active.name, version = active.version, path = %first.path, reason = %first.reason, "a template does not fit the schemas of the clusters");
            failing.push((active.id, active.name));
        }
    }
    Ok(failing)
}

/// Stores what was found and tells the administrators, in one message.
pub(super) async fn record(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    findings: &Findings,
    alert: Alert,
) -> Result<(), RepositoryError> {
    let sizes = uow.schemas().record_verdicts(&findings.sizes).await?;
    let failing: Vec<TemplateId> = findings.templates.iter().map(|(id, _)| *id).collect();
    let taken_back = uow.schemas().take_back_validation(&failing).await?;
    let templates = match alert {
        Alert::OfAll => findings.templates.iter().map(|(_, name)| name.clone()).collect(),
        Alert::OfNews => taken_back,
    };
    if sizes.is_empty() && templates.is_empty() {
        return Ok(());
    }
    let draft = draft(&findings.versions, &sizes, &templates);
    let (now, audience) = (platform.now(), Audience::PlatformAdmins);
    platform
        .notifications
        .send(uow.notifications(), audience, draft, now)
        .await
}

/// Re-validates everything against the schemas that are known now.
pub(super) async fn execute(platform: &Platform) -> Result<(), UseCaseError> {
    let against = schemas(platform, None).await?;
    let findings = judge(platform, &against).await?;
    let mut uow = platform.begin().await?;
    record(platform, &mut *uow, &findings, Alert::OfNews).await?;
    Ok(uow.commit().await?)
}

fn draft(versions: &[String], sizes: &[String], templates: &[String]) -> NotificationDraft {
    let versions: BTreeSet<&str> = versions.iter().map(String::as_str).collect();
    let versions: Vec<&str> = versions.into_iter().collect();
    let message = format!(
        "They do not fit the schema of KubeVirt {}: {}.",
        versions.join(", "),
        [named("instance size", sizes), named("template", templates)]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
    );
    let title = "Instance sizes or templates became invalid";
    NotificationDraft::new(NotificationType::SystemAlert, Severity::Warning, title, &message).params(json!({
        "code": "CATALOGUE_INVALID",
        "kubevirt_versions": versions,
        "instance_sizes": &sizes[..sizes.len().min(NAMED)],
        "instance_size_count": sizes.len(),
        "templates": &templates[..templates.len().min(NAMED)],
        "template_count": templates.len(),
    }))
}

/// `2 instance sizes (large, small)`; nothing when there are none.
fn named(what: &str, names: &[String]) -> Option<String> {
    let plural = if names.len() == 1 { "" } else { "s" };
    let shown = &names[..names.len().min(NAMED)];
    let more = if names.len() > NAMED { ", …" } else { "" };
    (!names.is_empty()).then(|| format!("{} {what}{plural} ({}{more})", names.len(), shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alert_names_ten_and_counts_all() {
        let sizes: Vec<String> = (0..12).map(|number| format!("size-{number}")).collect();
        let draft = draft(&["1.6".to_owned(), "1.6".to_owned()], &sizes, &["web".to_owned()]);
        let message = draft.message();
        assert!(
            message.starts_with("They do not fit the schema of KubeVirt 1.6: 12 instance sizes ("),
            "{message}"
        );
        assert!(
            message.contains("size-9, …)") && !message.contains("size-10"),
            "{message}"
        );
        assert!(message.ends_with("; 1 template (web)."), "{message}");
    }
}
