//! An administrator imports templates from documents, each in a transaction of its own: one that is wrong does not stop
//! the others.

use chrono::{DateTime, Utc};
use serde_json::Value;
use shepherd_domain::access::Permission;
use shepherd_domain::audit::AuditAction;
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_ports::RequestContext;
use shepherd_ports::context::Caller;

use super::add::{Addition, add};
use super::content::Content;
use super::document::TemplateDocument;
use super::validation::Checks;
use crate::identity::account;
use crate::{Platform, UseCaseError};

/// What happens to a name that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// It is left alone.
    #[default]
    Skip,
    /// It gets another version when the content is not that of its newest one.
    NewVersion,
}

/// Why a document was not imported.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Which one, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What became of the documents.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// Versions that were added.
    pub created: u32,
    /// Documents that were left alone.
    pub skipped: u32,
    /// Documents that were refused, in order.
    pub errors: Vec<Failure>,
    /// PREVIEW_UNAVAILABLE and the like, each once.
    pub warnings: Vec<Warning>,
}

/// Imports documents, or what could not even be read as one. A version is published when its document says `enabled`,
/// else it is a draft.
///
/// # Errors
/// FORBIDDEN; otherwise when the store fails.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    documents: Vec<Result<Value, Problem>>,
    mode: ImportMode,
) -> Result<Imported, UseCaseError> {
    account::require_everywhere(caller, Permission::TemplateWrite)?;
    let mut checks = Checks::prepare(platform).await?;
    let mut done = Imported::default();
    for (index, document) in documents.into_iter().enumerate() {
        match one(platform, caller, document, mode, &mut checks).await {
            Ok(Outcome::Created(warnings)) => {
                done.created += 1;
                let new: Vec<Warning> = warnings
                    .into_iter()
                    .filter(|new| !done.warnings.contains(new))
                    .collect();
                done.warnings.extend(new);
            }
            Ok(Outcome::Skipped) => done.skipped += 1,
            Err(UseCaseError::Problem(problem)) => done.errors.push(Failure { index, problem }),
            Err(
                error @ (UseCaseError::Repository(_)
                | UseCaseError::Cipher(_)
                | UseCaseError::Password(_)
                | UseCaseError::Token(_)
                | UseCaseError::Stored { .. }
                | UseCaseError::Broken(_)),
            ) => return Err(error),
        }
    }
    Ok(done)
}

enum Outcome {
    Created(Vec<Warning>),
    Skipped,
}

async fn one(
    platform: &Platform,
    caller: &Caller,
    document: Result<Value, Problem>,
    mode: ImportMode,
    checks: &mut Checks,
) -> Result<Outcome, UseCaseError> {
    let document: TemplateDocument = serde_json::from_value(document?)
        .map_err(|error| Problem::new(ErrorCode::InvalidRequest).with("reason", error.to_string()))?;
    let content = document.content(platform)?;
    // Asked before a cluster is: most documents of a second import are there already.
    if !is_wanted(platform, &document.name, &content, mode).await? {
        return Ok(Outcome::Skipped);
    }
    let verdict = checks.passed(platform, &content.spec).await?;
    let now = platform.now();
    let import = Import {
        document: &document,
        content,
        mode,
        publish: document.enabled == Some(true),
        seeded: false,
    };
    let validated_at = verdict.validated_at(now);
    Ok(if store(platform, &caller.context, import, validated_at, now).await? {
        Outcome::Created(verdict.warnings)
    } else {
        Outcome::Skipped
    })
}

async fn is_wanted(platform: &Platform, name: &str, content: &Content, mode: ImportMode) -> Result<bool, UseCaseError> {
    let newest = platform.read.get_latest_template(name).await?;
    Ok(newest.is_none_or(|newest| match mode {
        ImportMode::Skip => false,
        ImportMode::NewVersion => Content::of(&newest) != *content,
    }))
}

/// A document that was found good.
struct Import<'a> {
    document: &'a TemplateDocument,
    content: Content,
    mode: ImportMode,
    publish: bool,
    seeded: bool,
}

/// Adds the version of a document; `false` when somebody else was faster and it is not wanted any more.
async fn store(
    platform: &Platform,
    context: &RequestContext,
    import: Import<'_>,
    validated_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<bool, UseCaseError> {
    let name = &import.document.name;
    let mut uow = platform.begin().await?;
    let newest = uow.templates().lock_name(name).await?;
    if let Some(latest) = uow.templates().latest(name).await? {
        let unwanted = match import.mode {
            ImportMode::Skip => true,
            ImportMode::NewVersion => Content::of(&latest) == import.content,
        };
        if unwanted {
            return Ok(false);
        }
    }
    let addition = Addition {
        name,
        // The number of another installation, where there is room for it.
        version: import
            .document
            .version
            .filter(|version| newest.is_none_or(|newest| *version > newest)),
        texts: import.document.texts(),
        content: import.content,
        publish: import.publish,
        validated_at,
        seeded: import.seeded,
        action: AuditAction::TemplateImport,
        made_from: None,
    };
    add(platform, &mut *uow, context, addition, now).await?;
    uow.commit().await?;
    Ok(true)
}

/// Imports a document of the seed files and publishes it, when no template of its name exists; answers whether it did.
/// Whatever a cluster has to say about it is asked once there is one.
///
/// # Errors
/// VALIDATION_FAILED, TEMPLATE_SPEC_VIOLATION, TEMPLATE_VALIDATION_FAILED.
pub(crate) async fn seed(
    platform: &Platform,
    context: &RequestContext,
    document: &TemplateDocument,
) -> Result<bool, UseCaseError> {
    let content = document.content(platform)?;
    if !is_wanted(platform, &document.name, &content, ImportMode::Skip).await? {
        return Ok(false);
    }
    Checks::without_cluster(platform)
        .await?
        .passed(platform, &content.spec)
        .await?;
    let import = Import {
        document,
        content,
        mode: ImportMode::Skip,
        publish: true,
        seeded: true,
    };
    store(platform, context, import, None, platform.now()).await
}
