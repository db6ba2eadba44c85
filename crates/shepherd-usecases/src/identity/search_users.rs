//! Finding somebody to add to a System, or to give a role to.

use shepherd_domain::access::Permission;
use shepherd_domain::problem::{FieldCode, FieldError, Problem};
use shepherd_ports::context::Caller;
use shepherd_ports::users::FoundUser;

use crate::{Platform, UseCaseError};

/// Least characters to look for.
pub const MIN_LENGTH: usize = 2;
/// Most characters to look for; no name is longer.
pub const MAX_LENGTH: usize = 255;
/// Most users that are found.
const LIMIT: i64 = 10;

/// Enabled users by name, for those who have a reason to look for users.
///
/// # Errors
/// FORBIDDEN{required_permission}, VALIDATION_FAILED.
pub async fn execute(platform: &Platform, caller: &Caller, text: Option<&str>) -> Result<Vec<FoundUser>, UseCaseError> {
    require_reason(caller)?;
    let text = text.unwrap_or_default().trim();
    check(text)?;
    Ok(platform.read.search_users(text, LIMIT).await?)
}

/// Whoever manages members, users or roles has one.
fn require_reason(caller: &Caller) -> Result<(), Problem> {
    let subject = &caller.subject;
    if subject.manages_members() || subject.holds_anywhere(Permission::RbacRead) {
        return Ok(());
    }
    caller.require(Permission::UserManage)
}

fn check(text: &str) -> Result<(), Problem> {
    let error = match text.chars().count() {
        0 => FieldError::new("q", FieldCode::Required),
        length if length < MIN_LENGTH => FieldError::new("q", FieldCode::OutOfRange).with("min_length", MIN_LENGTH),
        length if length > MAX_LENGTH => FieldError::new("q", FieldCode::TooLong).with("max_length", MAX_LENGTH),
        _ => return Ok(()),
    };
    Err(Problem::invalid(vec![error]))
}
