//! What could not be shown to a cluster when it was published is shown to one as soon as there is one.
//!
//! This is asked for after every look at a healthy cluster of environment test rather than when one turns healthy: a
//! moment can be missed, a version without `validated_at` cannot. It costs one statement when there is nothing to do.

use shepherd_domain::Environment;
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::templates::TemplateRecord;

use super::validation::{Checks, Verdict};
use crate::{Platform, UseCaseError};

/// Most versions of one pass: the next look at the cluster waits for it.
const BATCH: i64 = 20;

/// After a look that found a cluster in this state. What goes wrong is made up for after the next one.
pub(crate) async fn after_look(platform: &Platform, cluster: &ClusterRecord, status: ClusterStatus) {
    if status != ClusterStatus::Healthy || cluster.environment != Environment::Test {
        return;
    }
    match execute(platform).await {
        Ok(0) => {}
        Ok(judged) => tracing::info!(judged, "templates were shown to a cluster that had not been before"),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "templates could not be shown to a cluster"
            );
        }
    }
}

/// Validates active versions that no cluster has judged; answers of how many that is known now.
///
/// # Errors
/// When the store fails.
pub(crate) async fn execute(platform: &Platform) -> Result<u64, UseCaseError> {
    let waiting = platform.read.unvalidated_templates(BATCH).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut checks = Checks::prepare(platform).await?;
    let mut judged = 0;
    for template in waiting {
        let verdict = checks.run(platform, &template.spec).await;
        if !verdict.is_final() {
            // Nobody answers, so nobody will answer about the next one.
            break;
        }
        if record(platform, &template, &verdict).await? {
            judged += 1;
        }
    }
    Ok(judged)
}

/// Stores what was found, with the alert when the version failed; `false` when it says something else by now.
async fn record(platform: &Platform, template: &TemplateRecord, verdict: &Verdict) -> Result<bool, UseCaseError> {
    let now = platform.now();
    let mut uow = platform.begin().await?;
    let recorded = uow
        .templates()
        .record_validation(template.id, &template.content_sha256, verdict.is_valid(), now)
        .await?;
    if !recorded {
        return Ok(false);
    }
    if !verdict.is_valid() {
        let draft = alert(template, verdict);
        platform
            .notifications
            .send(uow.notifications(), Audience::PlatformAdmins, draft, now)
            .await?;
    }
    uow.commit().await?;
    Ok(true)
}

fn alert(template: &TemplateRecord, verdict: &Verdict) -> NotificationDraft {
    let (name, version) = (&template.name, template.version);
    let title = format!("Template {name} version {version} is not valid");
    let message = format!(
        "Template {name} version {version} is offered and was refused when it was validated: machines made from it will fail."
    );
    NotificationDraft::new(NotificationType::SystemAlert, Severity::Warning, &title, &message)
        .about("template", template.id)
        .params(serde_json::json!({
            "code": "TEMPLATE_VALIDATION_FAILED", "template": name, "version": version, "steps": verdict.steps,
        }))
}
