//! What readers ask for, what an export may cover, and what a legal hold keeps.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use super::AuditAction;
use crate::environment::Environment;
use crate::ids::TicketId;
use crate::problem::{FieldCode, FieldError, Problem};

/// Which actions a reader asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionPattern {
    /// This one.
    Exactly(String),
    /// All that begin with this; with nothing, all.
    StartingWith(String),
}

/// Something that is neither an action nor a prefix of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an action has 1 to {max} characters, and `*` at its end alone", max = ActionPattern::MAX_LENGTH)]
pub struct InvalidActionPattern;

impl ActionPattern {
    /// Most characters of an action.
    pub const MAX_LENGTH: usize = 64;

    /// The least text that is greater than all texts with this prefix, in the order of code points; `None` when
    /// there is none.
    pub fn after_all_with(prefix: &str) -> Option<String> {
        let mut chars: Vec<char> = prefix.chars().collect();
        while let Some(last) = chars.pop() {
            // Surrogates are numbers between characters that are none themselves.
            let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
            if let Some(next) = next {
                chars.push(next);
                return Some(chars.into_iter().collect());
            }
        }
        None
    }
}

impl FromStr for ActionPattern {
    type Err = InvalidActionPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if text.is_empty() || name.contains('*') || name.chars().count() > Self::MAX_LENGTH {
            return Err(InvalidActionPattern);
        }
        Ok(if name.len() < text.len() {
            Self::StartingWith(name.to_owned())
        } else {
            Self::Exactly(name.to_owned())
        })
    }
}

/// Longest time that one export covers, in days.
pub const MAX_EXPORT_DAYS: i64 = 92;

/// Checks the range of an export, from its start to before its end.
///
/// # Errors
/// VALIDATION_FAILED with OUT_OF_RANGE unless it is longer than nothing and at most [`MAX_EXPORT_DAYS`] long.
pub fn check_export_range(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<(), Problem> {
    let length = end.signed_duration_since(start);
    if length > TimeDelta::zero() && length <= TimeDelta::days(MAX_EXPORT_DAYS) {
        return Ok(());
    }
    let error = FieldError::new("end_time", FieldCode::OutOfRange)
        .with("after", start.to_rfc3339())
        .with("max_days", MAX_EXPORT_DAYS);
    Err(Problem::invalid(vec![error]))
}

/// Which rows a legal hold keeps: those that equal it in every field it names. One that names none keeps all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of notifications-audit.md §6")]
pub struct HoldFilter {
    /// Without a wildcard: the database compares for equality.
    pub action: Option<AuditAction>,
    pub resource_type: Option<String>,
    pub resource_id: Option<String>,
    pub performed_by: Option<String>,
    pub environment: Option<Environment>,
    pub ticket_id: Option<TicketId>,
}

impl HoldFilter {
    /// The object that is stored, with the named fields alone.
    pub fn to_value(&self) -> serde_json::Value {
        let fields = [
            ("action", self.action.map(|action| action.as_str().to_owned())),
            ("resource_type", self.resource_type.clone()),
            ("resource_id", self.resource_id.clone()),
            ("performed_by", self.performed_by.clone()),
            (
                "environment",
                self.environment.map(|environment| environment.as_str().to_owned()),
            ),
            ("ticket_id", self.ticket_id.map(|ticket| ticket.to_string())),
        ];
        let named = fields
            .into_iter()
            .filter_map(|(field, value)| Some((field.to_owned(), serde_json::Value::from(value?))));
        serde_json::Value::Object(named.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_the_end_of_an_action_and_nowhere_else() {
        let parsed = |text: &str| text.parse::<ActionPattern>();
        assert_eq!(parsed("vm.create"), Ok(ActionPattern::Exactly("vm.create".to_owned())));
        assert_eq!(parsed("vm.*"), Ok(ActionPattern::StartingWith("vm.".to_owned())));
        assert_eq!(parsed("*"), Ok(ActionPattern::StartingWith(String::new())));
        for wrong in ["", "**", "*.create", "vm.*.x", "vm.**", &"a".repeat(65)] {
            assert_eq!(parsed(wrong), Err(InvalidActionPattern), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        let end = |prefix| ActionPattern::after_all_with(prefix);
        assert_eq!(end("vm."), Some("vm/".to_owned()));
        assert_eq!(end("a\u{10FFFF}"), Some("b".to_owned()));
        assert_eq!(end("\u{D7FF}"), Some("\u{E000}".to_owned()));
        assert_eq!(end(""), None);
        assert_eq!(end("\u{10FFFF}"), None);
    }

    #[test]
    fn an_export_covers_some_time_but_not_too_much() {
        let start = DateTime::UNIX_EPOCH;
        let check = |length| check_export_range(start, start + length);
        assert_eq!(check(TimeDelta::nanoseconds(1)), Ok(()));
        assert_eq!(check(TimeDelta::days(92)), Ok(()));
        assert!(check(TimeDelta::zero()).is_err());
        assert!(check(TimeDelta::seconds(-1)).is_err());
        assert!(check(TimeDelta::days(92) + TimeDelta::nanoseconds(1)).is_err());
    }

    #[test]
    fn a_hold_stores_the_fields_it_names() {
        assert_eq!(HoldFilter::default().to_value(), serde_json::json!({}));
        let filter = HoldFilter {
            action: Some(AuditAction::VmCreate),
            environment: Some(Environment::Prod),
            ..HoldFilter::default()
        };
        assert_eq!(
            filter.to_value(),
            serde_json::json!({"action": "vm.create", "environment": "prod"})
        );
    }
}
