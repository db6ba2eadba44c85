//! One version of a template as a document that another installation can import.

use shepherd_domain::ids::TemplateId;
use shepherd_ports::context::Caller;

use super::document::TemplateDocument;
use crate::{Platform, UseCaseError};

/// The document of a version.
///
/// # Errors
/// TEMPLATE_NOT_FOUND, FORBIDDEN.
pub async fn execute(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<TemplateDocument, UseCaseError> {
    Ok(super::get(platform, caller, id).await?.into())
}
