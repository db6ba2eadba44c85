//! What a request for a machine asks of its template inside its transaction.

use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::UnitOfWork;
use shepherd_ports::templates::TemplateRecord;

use crate::UseCaseError;

/// Keeps the version as it is until the transaction ends, so that nobody archives what a ticket is about to refer to.
/// It must still be where it was when it was looked at.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, TEMPLATE_NOT_ACTIVE.
pub(crate) async fn hold(uow: &mut dyn UnitOfWork, template: &TemplateRecord) -> Result<(), UseCaseError> {
    let status: TemplateStatus = uow
        .templates()
        .hold(template.id)
        .await?
        .ok_or_else(|| super::not_found(template.id))?;
    if status == template.status {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::TemplateNotActive)
        .with("template_id", template.id.to_string())
        .with("version", template.version)
        .with("status", status.as_str())
        .into())
}
