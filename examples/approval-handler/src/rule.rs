//! The rule of this board. It knows tickets and the day of the week, and nothing else.

use chrono::Weekday;
use serde::Deserialize;

/// The largest machine that nobody has to talk about.
const SMALL_CPU_CORES: u32 = 2;
const SMALL_MEMORY_MB: u32 = 4096;

/// A ticket, as far as the board wants to know it. Shepherd says more: who asks, why, and for what exactly.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ticket {
    pub(crate) shepherd_ticket_id: String,
    pub(crate) ticket_number: String,
    /// What is asked for: `CREATE`, `DELETE`.
    #[serde(rename = "type")]
    pub(crate) operation: String,
    /// `test` or `prod`.
    pub(crate) environment: String,
    /// Where the decision is sent.
    pub(crate) callback_url: String,
    #[serde(default)]
    pub(crate) resource_summary: Summary,
}

/// Names and numbers at submission.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Summary {
    pub(crate) cpu_cores: Option<u32>,
    pub(crate) memory_mb: Option<u32>,
}

/// What the rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    Approved(&'static str),
    Rejected(&'static str),
    /// The rule does not cover it; an approver in Shepherd decides.
    LeftToPeople,
}

/// Decides.
pub(crate) fn decide(ticket: &Ticket, today: Weekday) -> Ruling {
    if ticket.environment == "prod" && today == Weekday::Fri {
        return Ruling::Rejected("nothing is changed in production on a Friday");
    }
    if ticket.operation == "CREATE" && is_small(&ticket.resource_summary) {
        return Ruling::Approved("small machines need no meeting");
    }
    Ruling::LeftToPeople
}

/// What says nothing about its size is not small.
fn is_small(summary: &Summary) -> bool {
    let fits = |value: Option<u32>, most| value.is_some_and(|value| value <= most);
    fits(summary.cpu_cores, SMALL_CPU_CORES) && fits(summary.memory_mb, SMALL_MEMORY_MB)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn ticket(environment: &str, cpu_cores: u32) -> Ticket {
        Ticket {
            shepherd_ticket_id: "01983f0e-7c1e-7aa0-8000-2f6d2c1d9a10".to_owned(),
            ticket_number: "TKT-000007".to_owned(),
            operation: "CREATE".to_owned(),
            environment: environment.to_owned(),
            callback_url: "http://127.0.0.1:9/callback".to_owned(),
            resource_summary: Summary {
                cpu_cores: Some(cpu_cores),
                memory_mb: Some(4096),
            },
        }
    }

    #[test]
    fn small_machines_are_approved_and_large_ones_left_to_people() {
        let small = decide(&ticket("test", 2), Weekday::Fri);
        assert_eq!(small, Ruling::Approved("small machines need no meeting"));
        assert_eq!(decide(&ticket("test", 3), Weekday::Fri), Ruling::LeftToPeople);
        let unknown = Ticket {
            resource_summary: Summary::default(),
            ..ticket("test", 2)
        };
        assert_eq!(decide(&unknown, Weekday::Mon), Ruling::LeftToPeople);
    }

    #[test]
    fn production_rests_on_fridays() {
        assert!(matches!(decide(&ticket("prod", 1), Weekday::Fri), Ruling::Rejected(_)));
        assert!(matches!(decide(&ticket("prod", 1), Weekday::Sat), Ruling::Approved(_)));
    }

    #[test]
    fn the_end_of_a_small_machine_is_not_approved_with_it() {
        let deletion = Ticket {
            operation: "DELETE".to_owned(),
            ..ticket("test", 1)
        };
        assert_eq!(decide(&deletion, Weekday::Mon), Ruling::LeftToPeople);
    }
}
