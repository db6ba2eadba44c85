//! The password policy. Mode `nist`: length, common passwords, the own user name; no composition, no expiry. Mode
//! `legacy` asks for character classes as well.

use serde::{Deserialize, Serialize};

use crate::problem::{ErrorCode, FieldCode, FieldError, Problem};

/// Least characters.
pub const MIN_LENGTH: usize = 8;
/// Most characters.
pub const MAX_LENGTH: usize = 128;

/// What a new password must satisfy (`security.password_policy.*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Whether character classes count.
    pub mode: PasswordMode,
    /// Least characters; never fewer than [`MIN_LENGTH`].
    pub min_length: usize,
    /// Whether an upper-case letter is needed; mode `legacy` only, as the next three.
    pub require_uppercase: bool,
    /// Whether a lower-case letter is needed.
    pub require_lowercase: bool,
    /// Whether a digit is needed.
    pub require_digit: bool,
    /// Whether a character that is neither letter nor digit is needed.
    pub require_special: bool,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self {
            mode: PasswordMode::Nist,
            min_length: MIN_LENGTH,
            require_uppercase: false,
            require_lowercase: false,
            require_digit: false,
            require_special: false,
        }
    }
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PasswordMode {
    /// Length, common passwords and the own name; no composition.
    #[default]
    Nist,
    /// Character classes as well.
    Legacy,
}

/// Passwords that every attacker tries first, in lower case.
const COMMON: &str = include_str!("password/common.txt");

/// Checks a new password. Characters count, not bytes; nothing is trimmed.
///
/// # Errors
/// PASSWORD_POLICY_VIOLATION with all violations of `field` at once.
pub fn check(policy: &PasswordPolicy, field: &str, password: &str, username: &str) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let length = password.chars().count();
    let min_length = policy.min_length.max(MIN_LENGTH);
    if length < min_length {
        errors.push(FieldError::new(field, FieldCode::TooShort).with("min_length", min_length));
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
    let missing = missing_classes(policy, password);
    errors.extend(missing.map(|class| FieldError::new(field, FieldCode::MissingClass).with("class", class)));
    if errors.is_empty() {
        Ok(())
    } else {
        Err(violation(errors))
    }
}

/// Whether a class is demanded, its name, and what belongs to it.
type CharacterClass = (bool, &'static str, fn(char) -> bool);

/// The character classes that the policy demands and the password lacks.
fn missing_classes(policy: &PasswordPolicy, password: &str) -> impl Iterator<Item = &'static str> {
    let classes: [CharacterClass; 4] = [
        (policy.require_uppercase, "uppercase", char::is_uppercase),
        (policy.require_lowercase, "lowercase", char::is_lowercase),
        (policy.require_digit, "digit", char::is_numeric),
        (policy.require_special, "special", |c| !c.is_alphanumeric()),
    ];
    let counts = match policy.mode {
        PasswordMode::Nist => false,
        PasswordMode::Legacy => true,
    };
    classes
        .into_iter()
        .filter(move |(required, _, belongs)| counts && *required && !password.chars().any(*belongs))
        .map(|(_, class, _)| class)
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
