//! Templates: what boots and how the guest is initialised (catalog.md §1).
//!
//! `add`, `content` and `validation` are what the operations share. Clusters are asked before a transaction begins;
//! inside, the rows are locked and compared with what the clusters were asked about.

mod add;
pub mod archive;
pub mod content;
pub mod create;
pub mod delete;
pub mod deprecate;
pub mod document;
pub mod export;
pub mod import;
pub mod new_version;
pub mod publish;
pub(crate) mod revalidate;
pub(crate) mod sample;
mod submission;
pub mod update;
pub mod validate;
pub mod validation;

use serde::{Deserialize, Serialize};
use shepherd_domain::access::Permission;
use shepherd_domain::ids::TemplateId;
use shepherd_domain::problem::{ErrorCode, Problem, Warning};
use shepherd_ports::UnitOfWork;
use shepherd_ports::context::Caller;
use shepherd_ports::templates::TemplateRecord;

pub(crate) use submission::hold;

use crate::identity::account;
use crate::{Platform, UseCaseError};

/// How often a change is tried anew when somebody else changed the version while clusters were asked about it.
const ATTEMPTS: usize = 3;

/// A version that was stored, and what was found on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The version.
    pub id: TemplateId,
    /// PREVIEW_UNAVAILABLE and the like.
    pub warnings: Vec<Warning>,
}

/// One version with its spec, whatever its status.
///
/// # Errors
/// FORBIDDEN, TEMPLATE_NOT_FOUND.
pub async fn get(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<TemplateRecord, UseCaseError> {
    caller.require(Permission::TemplateRead)?;
    find(platform, id).await
}

/// The version, if the caller may change templates. They belong to no System, so a permission that is limited to one
/// permits nothing here.
async fn changeable(platform: &Platform, caller: &Caller, id: TemplateId) -> Result<TemplateRecord, UseCaseError> {
    account::require_everywhere(caller, Permission::TemplateWrite)?;
    find(platform, id).await
}

async fn find(platform: &Platform, id: TemplateId) -> Result<TemplateRecord, UseCaseError> {
    let found = platform.read.get_template(id).await?;
    Ok(found.ok_or_else(|| not_found(id))?)
}

/// The version, which nobody else changes until the transaction ends.
async fn locked(uow: &mut dyn UnitOfWork, id: TemplateId) -> Result<TemplateRecord, UseCaseError> {
    let found = uow.templates().lock(id).await?;
    Ok(found.ok_or_else(|| not_found(id))?)
}

fn not_found(id: TemplateId) -> Problem {
    Problem::not_found(ErrorCode::TemplateNotFound, id)
}

/// Everybody was faster, again and again.
fn overtaken() -> UseCaseError {
    Problem::new(ErrorCode::ServiceBusy).into()
}
