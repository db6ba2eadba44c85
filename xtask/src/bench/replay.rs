//! The captured statements of one approval, made fit to be run for any other ticket.
//!
//! What [`super::pgbench`] cannot vary by itself is what the product learns from one statement and says in the next:
//! the number a Service gave, and the name that follows from it.

use anyhow::ensure;

use super::capture::Statement;

/// Refuses to compare with less, or more, than one approval.
pub(super) fn check(statements: &[Statement]) -> anyhow::Result<()> {
    let wanted = [
        "BEGIN",
        "UPDATE approval_tickets SET status",
        "INSERT INTO vms",
        "INSERT INTO ticket_transitions",
        "INSERT INTO audit_logs",
        "INSERT INTO notifications",
        "graphile_worker.add_job",
        "COMMIT",
    ];
    for part in wanted {
        let times = statements
            .iter()
            .filter(|statement| statement.text.contains(part))
            .count();
        ensure!(
            times == 1,
            "the log has {times} times {part} for one approval: {statements:#?}"
        );
    }
    Ok(())
}

/// The ids of the approval whose statements were captured. Its event has the id of its ticket.
pub(super) struct Captured {
    pub(super) ticket: String,
    pub(super) service: String,
    pub(super) requester: String,
    /// The machine that the approval made.
    pub(super) vm: String,
}

/// How an approval inserts a machine (shepherd-postgres, vms.rs): id, Service, name and host name, number twice.
const MACHINE: &str = "VALUES ($1, $2, $3, $3, $4, $5,";
/// A machine's name and number, made of its id.
const MACHINE_OF_ID: &str = "VALUES ($1, $2, 'bench-' || right($1::text, 12), 'bench-' || right($1::text, 12), \
     ('x' || right($1::text, 8))::bit(32)::int, ('x' || right($1::text, 8))::bit(32)::int::text,";

impl Captured {
    /// The statement as it can be run for any ticket: the machine has the id of the ticket, its name and number follow
    /// from that, its job is its own and the requester is told by turns.
    pub(super) fn replayable(&self, mut statement: Statement) -> anyhow::Result<Statement> {
        if statement.text.contains("INSERT INTO vms") {
            ensure!(
                statement.text.contains(MACHINE),
                "an approval inserts machines in a way that the bench does not know: {}",
                statement.text
            );
            statement.text = statement.text.replace(MACHINE, MACHINE_OF_ID);
        }
        if statement.text.contains("graphile_worker.add_job") {
            for (name, position) in [("queue_name", 3), ("job_key", 6)] {
                let argument = format!("{name} => ${position}");
                ensure!(
                    statement.text.contains(&argument),
                    "a job is enqueued without {argument}"
                );
                statement.text = statement.text.replace(&argument, &format!("{argument}::text"));
            }
        }
        if statement.text.contains("INSERT INTO notifications") {
            self.tell_by_turns(&mut statement);
        }
        for value in statement.parameters.iter_mut().flatten() {
            if *value == self.vm {
                value.clone_from(&self.ticket);
            }
        }
        Ok(statement)
    }

    /// Otherwise all transactions would lock the row of one user. The ids of Services are ids of users as well.
    fn tell_by_turns(&self, statement: &mut Statement) {
        statement.parameters.push(Some(self.service.clone()));
        let turn = statement.parameters.len();
        let told = format!("replace($1::text, '{}', ${turn}::text)::jsonb", self.requester);
        statement.text = statement
            .text
            .replace("jsonb_to_recordset($1)", &format!("jsonb_to_recordset({told})"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured() -> Captured {
        Captured {
            ticket: "ticket".to_owned(),
            service: "service".to_owned(),
            requester: "requester".to_owned(),
            vm: "vm".to_owned(),
        }
    }

    fn statement(text: &str, parameters: &[&str]) -> Statement {
        Statement {
            text: text.to_owned(),
            parameters: parameters.iter().map(|value| Some((*value).to_owned())).collect(),
        }
    }

    #[test]
    fn a_machine_gets_everything_that_is_unique_from_its_id() {
        let made = statement(
            "INSERT INTO vms (id) VALUES ($1, $2, $3, $3, $4, $5, $6)",
            &["vm", "service", "n", "1", "01", "x"],
        );
        let replayed = captured().replayable(made).unwrap();
        assert!(!replayed.text.contains("$3") && !replayed.text.contains("$4"));
        assert_eq!(replayed.parameters[0].as_deref(), Some("ticket"));
        let unknown = statement("INSERT INTO vms (id) VALUES ($1, $3, $2)", &["vm", "n", "service"]);
        assert!(captured().replayable(unknown).is_err());
    }

    #[test]
    fn jobs_have_a_lane_and_a_key_of_their_own() {
        let job = statement(
            "SELECT graphile_worker.add_job($1, queue_name => $3, job_key => $6)",
            &["event_job", "{}", "vm", "", "25", "ticket"],
        );
        let replayed = captured().replayable(job).unwrap();
        assert!(replayed.text.ends_with("queue_name => $3::text, job_key => $6::text)"));
        assert_eq!(replayed.parameters[2], replayed.parameters[5]);
    }

    #[test]
    fn requesters_are_told_by_turns() {
        let told = statement(
            "INSERT INTO notifications SELECT jsonb_to_recordset($1), $2",
            &["[]", "now"],
        );
        let replayed = captured().replayable(told).unwrap();
        assert!(
            replayed
                .text
                .contains("(replace($1::text, 'requester', $3::text)::jsonb), $2")
        );
        assert_eq!(replayed.parameters[2].as_deref(), Some("service"));
    }
}
