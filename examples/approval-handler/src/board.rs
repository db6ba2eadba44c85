//! What the board knows of each ticket. It forgets everything when it ends: what it decided Shepherd knows, and what it
//! did not an approver decides.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::rule::{Ruling, Ticket};

/// Who decided, for Shepherd. Never the requester's name: nobody decides what they asked for.
const APPROVER: &str = "the rule of the board";

/// A ticket on the board.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) ticket: Ticket,
    pub(crate) external_id: String,
    ruling: Ruling,
    ruled_at: DateTime<Utc>,
    is_withdrawn: bool,
    is_reported: bool,
}

/// How a ticket stands, in the words of the contract.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Status {
    pub(crate) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approver: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) comments: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approved_at: Option<String>,
}

impl Case {
    /// How it stands.
    pub(crate) fn status(&self) -> Status {
        let (status, comment) = match self.ruling {
            Ruling::Approved(comment) => ("approved", Some(comment)),
            Ruling::Rejected(comment) => ("rejected", Some(comment)),
            Ruling::LeftToPeople => ("pending", None),
        };
        Status {
            status,
            approver: comment.map(|_| APPROVER),
            comments: comment,
            approved_at: comment.map(|_| self.ruled_at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        }
    }

    /// Whether Shepherd has still to be told.
    fn is_due(&self) -> bool {
        !self.is_reported && !self.is_withdrawn && self.ruling != Ruling::LeftToPeople
    }

    /// Until the answer with the board's own id has arrived, Shepherd calls a ticket by the id that it has there.
    fn is_called(&self, id: &str) -> bool {
        self.external_id == id || self.ticket.shepherd_ticket_id == id
    }
}

/// All tickets.
#[derive(Default)]
pub(crate) struct Board(Mutex<Vec<Case>>);

impl Board {
    /// Takes a ticket, once: one that is sent again has the id and the ruling of the first time.
    pub(crate) fn take(&self, ticket: Ticket, ruling: Ruling, now: DateTime<Utc>) -> Case {
        let mut cases = self.cases();
        let known = cases
            .iter()
            .find(|case| case.ticket.shepherd_ticket_id == ticket.shepherd_ticket_id);
        if let Some(known) = known {
            return known.clone();
        }
        let case = Case {
            external_id: format!("BOARD-{}", cases.len() + 1),
            ticket,
            ruling,
            ruled_at: now,
            is_withdrawn: false,
            is_reported: false,
        };
        cases.push(case.clone());
        case
    }

    /// How a ticket stands; `None` when it is not on the board.
    pub(crate) fn status(&self, external_id: &str) -> Option<Status> {
        let cases = self.cases();
        cases.iter().find(|case| case.is_called(external_id)).map(Case::status)
    }

    /// Notes that a ticket was decided or called off elsewhere; `false` when it is not on the board.
    pub(crate) fn withdraw(&self, external_id: &str) -> bool {
        self.change(external_id, |case| case.is_withdrawn = true)
    }

    /// What Shepherd has to be told.
    pub(crate) fn due(&self) -> Vec<Case> {
        self.cases().iter().filter(|case| case.is_due()).cloned().collect()
    }

    /// Notes that Shepherd was told.
    pub(crate) fn reported(&self, external_id: &str) {
        self.change(external_id, |case| case.is_reported = true);
    }

    fn change(&self, external_id: &str, change: impl FnOnce(&mut Case)) -> bool {
        let mut cases = self.cases();
        let found = cases.iter_mut().find(|case| case.is_called(external_id));
        found.map(change).is_some()
    }

    fn cases(&self) -> MutexGuard<'_, Vec<Case>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::ticket;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    #[test]
    fn a_ticket_that_comes_again_is_the_same() {
        let board = Board::default();
        let first = board.take(ticket("test", 1), Ruling::Approved("yes"), NOW);
        let again = board.take(ticket("test", 1), Ruling::LeftToPeople, NOW);
        assert_eq!(first.external_id, "BOARD-1");
        assert_eq!(again.external_id, first.external_id);
        assert_eq!(again.status().status, "approved");
        assert_eq!(board.due().len(), 1);
    }

    #[test]
    fn what_is_decided_is_reported_once() {
        let board = Board::default();
        let case = board.take(ticket("prod", 1), Ruling::Rejected("no"), NOW);
        assert_eq!(board.due().len(), 1);
        board.reported(&case.external_id);
        assert!(board.due().is_empty());
        let status = board.status(&case.external_id).unwrap();
        assert_eq!((status.status, status.comments), ("rejected", Some("no")));
        assert_eq!(status.approved_at.as_deref(), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_left_to_people_or_withdrawn_is_not_reported() {
        let board = Board::default();
        let case = board.take(ticket("test", 8), Ruling::LeftToPeople, NOW);
        assert!(board.due().is_empty());
        assert_eq!(board.status(&case.ticket.shepherd_ticket_id).unwrap().status, "pending");
        assert!(board.withdraw(&case.external_id));
        assert!(!board.withdraw("BOARD-2"));
        assert_eq!(board.status("BOARD-2"), None);
    }
}
