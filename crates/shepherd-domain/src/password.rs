//! The password policy, mode `nist`: length, common passwords, the own user name; no composition, no expiry.

use crate::problem::{ErrorCode, FieldCode, FieldError, Problem};

/// Least characters.
pub const MIN_LENGTH: usize = 8;
/// Most characters.
pub const MAX_LENGTH: usize = 128;

/// Passwords that every attacker tries first, in lower case.
const COMMON: &str = include_str!("password/common.txt");

/// Checks a new password. Characters count, not bytes; nothing is trimmed.
///
/// # Errors
/// PASSWORD_POLICY_VIOLATION with all violations of `field` at once.
pub fn check(field: &str, password: &str, username: &str) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let length = password.chars().count();
    if length < MIN_LENGTH {
        errors.push(FieldError::new(field, FieldCode::TooShort).with("min_length", MIN_LENGTH));
    }
    if length > MAX_LENGTH {
        errors.push(FieldError::new(field, FieldCode::TooLong).with("max_length", MAX_LENGTH));
    }
    let lower = password.to_lowercase();
    if COMMON.lines().any(|common| common == lower) {
        errors.push(FieldError::new(field, FieldCode::TooCommon));
    }
    let name = username.to_lowercase();
    if name.chars().count() >= 3 && lower.contains(&name) {
        errors.push(FieldError::new(field, FieldCode::ContainsUsername));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(violation(errors))
    }
}

/// PASSWORD_POLICY_VIOLATION because the new password equals the old one.
pub fn reused(field: &str) -> Problem {
    violation(vec![FieldError::new(field, FieldCode::Reused)])
}

fn violation(field_errors: Vec<FieldError>) -> Problem {
    Problem {
        field_errors,
        ..Problem::new(ErrorCode::PasswordPolicyViolation)
    }
}
