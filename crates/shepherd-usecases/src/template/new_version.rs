//! An administrator begins the next version of a template as a copy of any of its versions.

use shepherd_domain::audit::AuditAction;
use shepherd_domain::ids::TemplateId;
use shepherd_ports::context::Caller;
use shepherd_ports::idempotency::IdempotentRequest;

use super::add::{Addition, add};
use super::content::{Content, Texts};
use crate::idempotency::{self, Answer};
use crate::{Platform, UseCaseError};

/// Adds a draft with the next number. It is validated when it is changed or published.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN.
pub async fn execute(
    platform: &Platform,
    caller: &Caller,
    id: TemplateId,
    request: Option<&IdempotentRequest>,
) -> Result<Answer<TemplateId>, UseCaseError> {
    let original = super::changeable(platform, caller, id).await?;
    let now = platform.now();
    let mut uow = platform.begin().await?;
    if let Some(answer) = idempotency::claim(platform, &mut *uow, request).await? {
        return Ok(answer);
    }
    let addition = Addition {
        name: &original.name,
        version: None,
        texts: Texts::of(&original),
        content: Content::of(&original),
        publish: false,
        validated_at: original.validated_at,
        seeded: false,
        action: AuditAction::TemplateCreate,
        made_from: Some(original.id),
    };
    let copy = add(platform, &mut *uow, &caller.context, addition, now).await?;
    idempotency::store(platform, &mut *uow, request, &copy).await?;
    uow.commit().await?;
    Ok(Answer::fresh(copy))
}
