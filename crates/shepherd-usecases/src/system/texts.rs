//! Limits of the texts of Systems and Services.

use shepherd_domain::problem::{FieldCode, FieldError, Problem};

/// Most characters of a description.
pub const MAX_DESCRIPTION: usize = 512;
/// Most characters of a documentation.
pub const MAX_DOCUMENTATION: usize = 65_536;

/// Checks the texts of a System or Service.
///
/// # Errors
/// VALIDATION_FAILED with TOO_LONG per field.
pub fn check(description: Option<&str>, documentation: Option<&str>) -> Result<(), Problem> {
    let limits = [
        ("description", description, MAX_DESCRIPTION),
        ("documentation", documentation, MAX_DOCUMENTATION),
    ];
    let errors: Vec<FieldError> = limits
        .into_iter()
        .filter_map(|(field, text, max)| {
            text.filter(|text| text.chars().count() > max)
                .map(|_| FieldError::new(field, FieldCode::TooLong).with("max_length", max))
        })
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
