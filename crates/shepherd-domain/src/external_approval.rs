//! External approval systems: their types, what becomes of a ticket that is handed to one, and what their words mean
//! (requests.md §10).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumIter, EnumString, IntoStaticStr};

use crate::transition::{InvalidTransition, Transition, step};

/// Most characters of a system's name.
pub const MAX_NAME: usize = 63;
/// Most words that a status mapping has.
pub const MAX_WORDS: usize = 50;
/// Most characters of a word.
pub const MAX_WORD: usize = 64;
/// Most characters of the id that a system gives a ticket.
pub const MAX_EXTERNAL_ID: usize = 255;
/// How far the clocks of a callback's sender and of the platform may be apart.
pub const CALLBACK_WINDOW: Duration = Duration::from_secs(300);
/// What an adapter must be registered for at all times.
pub const BUILTIN: &str = "builtin-default";

const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(900);

/// What kind of system it is. Which of these can be used is a matter of the adapters that are registered.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumIter, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the specification's and say it all")]
pub enum SystemType {
    Webhook,
    Jira,
    Servicenow,
    Custom,
}

impl SystemType {
    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What became of a ticket that was handed to a system.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumIter, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum SubmissionState {
    /// Still to be submitted.
    Queued,
    /// The system has it.
    Submitted,
    /// The system consented. The ticket may still wait for an approver who finds a cluster.
    Approved,
    /// The system refused.
    Rejected,
    /// The platform gave up on the system; the ticket is decided by approvers.
    FellBack,
    /// The ticket was decided, or withdrawn, without the system.
    Cancelled,
}

/// From where a submission still goes somewhere.
const OPEN: &[SubmissionState] = &[SubmissionState::Queued, SubmissionState::Submitted];

impl SubmissionState {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the system may still decide.
    pub fn is_open(self) -> bool {
        OPEN.contains(&self)
    }

    /// The system took it.
    pub fn submit(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "submit", &[Self::Queued], Self::Submitted)
    }

    /// The system decided. A callback may come before the answer to the submission.
    pub fn decide(self, answer: Answer) -> Result<Transition<Self>, InvalidTransition<Self>> {
        match answer {
            Answer::Approved => step(self, "approve", OPEN, Self::Approved),
            Answer::Rejected => step(self, "reject", OPEN, Self::Rejected),
        }
    }

    /// The platform gives up on the system.
    pub fn fall_back(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "fall_back", OPEN, Self::FellBack)
    }

    /// The ticket was decided without the system.
    pub fn cancel(self) -> Result<Transition<Self>, InvalidTransition<Self>> {
        step(self, "cancel", OPEN, Self::Cancelled)
    }
}

/// A decision of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Answer {
    Approved,
    Rejected,
}

/// What a word of a system means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it all")]
pub enum Meaning {
    Approved,
    Rejected,
    Pending,
}

impl Meaning {
    /// The decision, if it is one.
    pub fn answer(self) -> Option<Answer> {
        match self {
            Self::Approved => Some(Answer::Approved),
            Self::Rejected => Some(Answer::Rejected),
            Self::Pending => None,
        }
    }
}

/// What the words of a system mean, whatever their case. `approved`, `rejected` and `pending` mean themselves unless
/// the mapping says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StatusMapping(BTreeMap<String, Meaning>);

/// Why something is no status mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMapping {
    /// More words than anybody needs.
    #[error("at most {MAX_WORDS} words")]
    TooManyWords,
    /// An empty or overlong word, or the same one in two cases.
    #[error("words have 1 to {MAX_WORD} characters and are told apart whatever their case")]
    Word,
}

impl StatusMapping {
    /// A mapping of these words.
    ///
    /// # Errors
    /// [`InvalidMapping`].
    pub fn new(words: impl IntoIterator<Item = (String, Meaning)>) -> Result<Self, InvalidMapping> {
        let mut mapping = BTreeMap::new();
        for (word, meaning) in words {
            let word = normal(&word);
            let fits = (1..=MAX_WORD).contains(&word.chars().count()) && !word.chars().any(char::is_control);
            if !fits || mapping.insert(word, meaning).is_some() {
                return Err(InvalidMapping::Word);
            }
        }
        if mapping.len() > MAX_WORDS {
            return Err(InvalidMapping::TooManyWords);
        }
        Ok(Self(mapping))
    }

    /// What a word means; `None` when nobody said.
    pub fn meaning(&self, word: &str) -> Option<Meaning> {
        let word = normal(word);
        let own = self.0.get(&word).copied();
        own.or_else(|| word.parse().ok())
    }

    /// The words and their meanings.
    pub fn words(&self) -> &BTreeMap<String, Meaning> {
        &self.0
    }
}

fn normal(word: &str) -> String {
    word.trim().to_lowercase()
}

/// What a system said about a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The decision.
    pub answer: Answer,
    /// Who decided there, as the system names that person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approver: Option<String>,
    /// A remark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it was decided there, as the system wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<String>,
}

/// How long to wait after so many failed attempts, from 1: 2 s, and twice as long each time, up to 15 minutes.
pub fn retry_delay(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY)
}

/// Whether a text can be the id that a system gives a ticket. It becomes a part of a path, where dots climb.
pub fn is_external_id(text: &str) -> bool {
    (1..=MAX_EXTERNAL_ID).contains(&text.chars().count())
        && !text.chars().any(char::is_control)
        && !matches!(text, "." | "..")
}

/// The address below another one: each segment is escaped, and a query stays at the end.
pub fn below(url: &str, segments: &[&str]) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (url, None),
    };
    let mut whole = path.trim_end_matches('/').to_owned();
    for segment in segments {
        whole.push('/');
        for byte in segment.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                whole.push(char::from(byte));
            } else {
                // Writing to a text never fails.
                let _ = write!(whole, "%{byte:02X}");
            }
        }
    }
    if let Some(query) = query {
        whole.push('?');
        whole.push_str(query);
    }
    whole
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn words_mean_what_the_mapping_says_and_the_plain_ones_themselves() {
        let mapping = StatusMapping::new([
            ("Done".to_owned(), Meaning::Approved),
            ("rejected".to_owned(), Meaning::Pending),
        ])
        .unwrap();
        assert_eq!(mapping.meaning(" DONE "), Some(Meaning::Approved));
        assert_eq!(mapping.meaning("Approved"), Some(Meaning::Approved));
        assert_eq!(mapping.meaning("REJECTED"), Some(Meaning::Pending));
        assert_eq!(mapping.meaning("escalated"), None);
    }

    #[test]
    fn a_word_has_one_meaning() {
        let twice = [
            ("ok".to_owned(), Meaning::Approved),
            ("OK".to_owned(), Meaning::Rejected),
        ];
        assert_eq!(StatusMapping::new(twice), Err(InvalidMapping::Word));
        let none = [(" ".to_owned(), Meaning::Approved)];
        assert_eq!(StatusMapping::new(none), Err(InvalidMapping::Word));
        let many = (0..=MAX_WORDS).map(|number| (number.to_string(), Meaning::Pending));
        assert_eq!(StatusMapping::new(many), Err(InvalidMapping::TooManyWords));
    }

    #[test]
    fn what_has_ended_does_not_move_again() {
        for state in SubmissionState::iter().filter(|state| !state.is_open()) {
            assert!(state.submit().is_err());
            assert!(state.decide(Answer::Approved).is_err());
            assert!(state.decide(Answer::Rejected).is_err());
            assert!(state.fall_back().is_err());
            assert!(state.cancel().is_err());
        }
        assert!(SubmissionState::Submitted.submit().is_err(), "once is enough");
    }

    #[test]
    fn waiting_doubles_from_two_seconds_and_has_an_end() {
        let seconds: Vec<u64> = (1..=4).map(|attempts| retry_delay(attempts).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16]);
        assert_eq!(retry_delay(u32::MAX), LAST_RETRY);
    }

    #[test]
    fn an_id_of_somebody_else_stays_one_segment_of_the_path() {
        assert_eq!(
            below("https://a.example/hook/?key=1", &["x/../y z?#ü", "cancel"]),
            "https://a.example/hook/x%2F..%2Fy%20z%3F%23%C3%BC/cancel?key=1"
        );
        assert!(is_external_id("CHG-0001"));
        for unfit in ["", ".", "..", "a\nb"] {
            assert!(!is_external_id(unfit), "{unfit:?}");
        }
        assert!(!is_external_id(&"x".repeat(MAX_EXTERNAL_ID + 1)));
    }
}
