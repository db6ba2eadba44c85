//! An administrator changes a template. Published content never changes: a change of it makes and publishes the next
//! version.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use shepherd_domain::audit::{AuditAction, AuditEntry};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::templates::{TemplateChange, TemplateRecord};

use super::add::{Addition, add};
use super::content::{Content, Texts, content_hash};
use super::validation::{Checks, Verdict};
use super::{ATTEMPTS, Stored, deprecate, publish};
use crate::{Platform, UseCaseError};

/// What changes; absent leaves a value, an inner `None` clears a text.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields of domain.md §3.5")]
pub struct UpdateTemplate {
    pub display_name: Option<Option<String>>,
    pub description: Option<Option<String>>,
    pub category: Option<Option<String>>,
    pub os_family: Option<Option<String>>,
    pub os_version: Option<Option<String>>,
    pub spec: Option<Value>,
    pub quick_fields: Option<Value>,
    pub advanced_fields: Option<Value>,
    /// Publishes a draft or a copy of a deprecated version, or deprecates the active one.
    pub enabled: Option<bool>,
}

/// What a change does to the versions of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// The version stays the one that it is.
    InPlace {
        content: bool,
        publish: bool,
        deprecate: bool,
    },
    /// The next version is added: published, or as a draft when the caller wants nothing to be offered.
    NextVersion { publish: bool, deprecate: bool },
}

impl Plan {
    fn of(status: TemplateStatus, content_changes: bool, enabled: Option<bool>) -> Result<Self, Problem> {
        let (publish, retire) = (enabled == Some(true), enabled == Some(false));
        match status {
            TemplateStatus::Draft => Ok(Self::InPlace {
                content: content_changes,
                publish,
                deprecate: false,
            }),
            TemplateStatus::Active if content_changes => Ok(Self::NextVersion {
                publish: !retire,
                deprecate: retire,
            }),
            TemplateStatus::Active => Ok(Self::InPlace {
                content: false,
                publish: false,
                deprecate: retire,
            }),
            TemplateStatus::Deprecated if content_changes || publish => Ok(Self::NextVersion {
                publish: !retire,
                deprecate: false,
            }),
            TemplateStatus::Deprecated => Ok(Self::InPlace {
                content: false,
                publish: false,
                deprecate: false,
            }),
            TemplateStatus::Archived => Err(Problem::new(ErrorCode::InvalidStateTransition)
                .with("entity", "template")
                .with("current_status", status.as_str())
                .with("operation", "update")
                .with("allowed", json!(["draft", "active", "deprecated"]))),
        }
    }

    /// Whether something is stored that has to be validated.
    fn is_validated(self) -> bool {
        match self {
            Self::InPlace { content, publish, .. } => content || publish,
            Self::NextVersion { .. } => true,
        }
    }
}

/// What the version will be.
struct Wanted {
    texts: Texts,
    content: Content,
    plan: Plan,
}

impl Wanted {
    fn of(record: &TemplateRecord, patch: &UpdateTemplate) -> Result<Self, Problem> {
        let before = Texts::of(record);
        let text = |new: &Option<Option<String>>, old: Option<String>| new.clone().unwrap_or(old);
        let texts = Texts {
            display_name: text(&patch.display_name, before.display_name),
            description: text(&patch.description, before.description),
            category: text(&patch.category, before.category),
            os_family: text(&patch.os_family, before.os_family),
            os_version: text(&patch.os_version, before.os_version),
        };
        let errors = texts.errors();
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let content = Content::of(record).patched(
            patch.spec.as_ref(),
            patch.quick_fields.as_ref(),
            patch.advanced_fields.as_ref(),
        )?;
        let plan = Plan::of(record.status, content != Content::of(record), patch.enabled)?;
        Ok(Self { texts, content, plan })
    }
}

/// Changes the version, or adds the next one; answers which one to look at.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN, PRECONDITION_FAILED{current_version}, VALIDATION_FAILED, TEMPLATE_SPEC_VIOLATION,
/// INVALID_STATE_TRANSITION, TEMPLATE_VALIDATION_FAILED.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: TemplateId,
    patch: UpdateTemplate,
    version: Option<i64>,
) -> Result<Stored, UseCaseError> {
    for _ in 0..ATTEMPTS {
        let record = super::changeable(platform, caller, id).await?;
        require_version(&record, version)?;
        let wanted = Wanted::of(&record, &patch)?;
        let verdict = if wanted.plan.is_validated() {
            let mut checks = Checks::prepare(platform).await?;
            Some(checks.passed(platform, &wanted.content.spec).await?)
        } else {
            None
        };
        if let Some(stored) = store(platform, caller, &record, wanted, verdict, version).await? {
            return Ok(stored);
        }
    }
    Err(super::overtaken())
}

fn require_version(record: &TemplateRecord, version: Option<i64>) -> Result<(), Problem> {
    if version.is_some_and(|version| version != record.row_version) {
        return Err(Problem::new(ErrorCode::PreconditionFailed).with("current_version", record.row_version));
    }
    Ok(())
}

/// Carries the plan out; `None` when the version is not the one any more that it was made for.
async fn store(
    platform: &Platform,
    caller: &Caller,
    seen: &TemplateRecord,
    wanted: Wanted,
    verdict: Option<Verdict>,
    version: Option<i64>,
) -> Result<Option<Stored>, UseCaseError> {
    let now = platform.now();
    let validated_at = verdict.as_ref().and_then(|verdict| verdict.validated_at(now));
    let mut uow = platform.begin().await?;
    uow.templates().lock_name(&seen.name).await?;
    let record = super::locked(&mut *uow, seen.id).await?;
    require_version(&record, version)?;
    if record.row_version != seen.row_version {
        return Ok(None);
    }
    let id = match wanted.plan {
        Plan::InPlace { publish, deprecate, .. } => {
            let change = change(platform, &record, wanted.texts, wanted.content, validated_at)?;
            write_over(platform, &mut *uow, caller, &record, change, publish, now).await?;
            if publish {
                publish::activate(&mut *uow, caller, &record, validated_at, now).await?;
            }
            if deprecate {
                retire(platform, &mut *uow, caller, &record, now).await?;
            }
            record.id
        }
        Plan::NextVersion { publish, deprecate } => {
            if deprecate {
                retire(platform, &mut *uow, caller, &record, now).await?;
            }
            let addition = Addition {
                name: &record.name,
                version: None,
                texts: wanted.texts,
                content: wanted.content,
                publish,
                validated_at,
                seeded: false,
                action: AuditAction::TemplateCreate,
                made_from: Some(record.id),
            };
            add(platform, &mut *uow, &caller.context, addition, now).await?
        }
    };
    uow.commit().await?;
    let warnings = verdict.map_or_else(Vec::new, |verdict| verdict.warnings);
    Ok(Some(Stored { id, warnings }))
}

fn change(
    platform: &Platform,
    record: &TemplateRecord,
    texts: Texts,
    content: Content,
    validated_at: Option<DateTime<Utc>>,
) -> Result<TemplateChange, UseCaseError> {
    // The digest of content that stays is the one that was stored, whatever it was made by.
    let content_sha256 = if content.spec == record.spec {
        record.content_sha256.clone()
    } else {
        content_hash(platform, &content.spec)?
    };
    Ok(TemplateChange {
        display_name: texts.display_name,
        description: texts.description,
        category: texts.category,
        os_family: texts.os_family,
        os_version: texts.os_version,
        spec: content.spec,
        quick_fields: content.quick_fields,
        advanced_fields: content.advanced_fields,
        content_sha256,
        validated_at,
    })
}

/// Writes over a locked version, with the audit row of a change; none when nothing changes.
async fn write_over(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    record: &TemplateRecord,
    change: TemplateChange,
    publish: bool,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    if !uow.templates().update(record.id, &change).await? {
        return Err(UseCaseError::Broken("a locked template cannot be written over"));
    }
    let mut changes = changes(record, &change);
    if publish {
        changes.insert("status".to_owned(), json!({"old": record.status, "new": "active"}));
    }
    if changes.is_empty() {
        return Ok(());
    }
    changes.insert("version".to_owned(), json!(record.version));
    let entry = AuditEntry::new(AuditAction::TemplateUpdate, "template", record.id)
        .named(&record.name)
        .details(changes.into());
    Ok(platform.audit(uow, &caller.context, now, [entry]).await?)
}

async fn retire(
    platform: &Platform,
    uow: &mut dyn UnitOfWork,
    caller: &Caller,
    record: &TemplateRecord,
    now: DateTime<Utc>,
) -> Result<(), UseCaseError> {
    deprecate::deprecate(uow, record).await?;
    let entry = deprecate::entry(record);
    Ok(platform.audit(uow, &caller.context, now, [entry]).await?)
}

/// What changes, with old and new texts. Of the spec only the digest: cloud-init can hold what nobody should read twice.
fn changes(before: &TemplateRecord, after: &TemplateChange) -> Map<String, Value> {
    let texts = [
        ("display_name", &before.display_name, &after.display_name),
        ("description", &before.description, &after.description),
        ("category", &before.category, &after.category),
        ("os_family", &before.os_family, &after.os_family),
        ("os_version", &before.os_version, &after.os_version),
    ];
    let mut changes: Map<String, Value> = texts
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(field, old, new)| (field.to_owned(), json!({"old": old, "new": new})))
        .collect();
    if before.content_sha256 != after.content_sha256 {
        let digests = json!({"old": before.content_sha256, "new": after.content_sha256});
        changes.insert("content_sha256".to_owned(), digests);
    }
    for (field, old, new) in [
        ("quick_fields", &before.quick_fields, &after.quick_fields),
        ("advanced_fields", &before.advanced_fields, &after.advanced_fields),
    ] {
        if old != new {
            changes.insert(field.to_owned(), json!({"old": old, "new": new}));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_version_keeps_its_content_and_an_archived_one_everything() {
        use TemplateStatus::{Active, Archived, Deprecated, Draft};
        let in_place = |content, publish, deprecate| Plan::InPlace {
            content,
            publish,
            deprecate,
        };
        let next = |publish, deprecate| Plan::NextVersion { publish, deprecate };
        for (status, content_changes, enabled, expected) in [
            (Draft, true, None, in_place(true, false, false)),
            (Draft, false, Some(true), in_place(false, true, false)),
            (Draft, true, Some(false), in_place(true, false, false)),
            (Active, false, None, in_place(false, false, false)),
            (Active, false, Some(true), in_place(false, false, false)),
            (Active, false, Some(false), in_place(false, false, true)),
            (Active, true, None, next(true, false)),
            (Active, true, Some(false), next(false, true)),
            (Deprecated, false, None, in_place(false, false, false)),
            (Deprecated, false, Some(false), in_place(false, false, false)),
            (Deprecated, false, Some(true), next(true, false)),
            (Deprecated, true, None, next(true, false)),
            (Deprecated, true, Some(false), next(false, false)),
        ] {
            let plan = Plan::of(status, content_changes, enabled);
            assert_eq!(plan, Ok(expected), "{status} {content_changes} {enabled:?}");
        }
        for enabled in [None, Some(true), Some(false)] {
            let refused = Plan::of(Archived, false, enabled).map_err(|problem| problem.code);
            assert_eq!(refused, Err(ErrorCode::InvalidStateTransition));
        }
    }
}
