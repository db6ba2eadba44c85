//! Whoever asks must not decide where the rule forbids it, by whatever name a system knows that person
//! (requests.md §8).

use shepherd_domain::external_approval::{Answer, Verdict};
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::tickets::TicketRecord;

use crate::{Platform, UseCaseError};

/// What the rule says of a verdict.
pub(super) enum Ruling {
    /// It may stand.
    Permitted,
    /// A consent that names nobody, where it matters who gave it: an approver has to look.
    Nameless,
    /// The requester gave it.
    Own(Problem),
}

/// Looks at who decided. A refusal that names nobody stands: the requester could as well have called the request off.
///
/// # Errors
/// When the store fails.
pub(super) async fn rule(
    platform: &Platform,
    ticket: &TicketRecord,
    verdict: &Verdict,
) -> Result<Ruling, UseCaseError> {
    if platform.settings().self_approval.permits(ticket.environment) {
        return Ok(Ruling::Permitted);
    }
    let Some(approver) = verdict.approver.as_deref() else {
        return Ok(match verdict.answer {
            Answer::Approved => Ruling::Nameless,
            Answer::Rejected => Ruling::Permitted,
        });
    };
    let requester = names_of(platform, ticket).await?;
    if !names_in(approver).iter().any(|name| requester.contains(name)) {
        return Ok(Ruling::Permitted);
    }
    Ok(Ruling::Own(
        Problem::new(ErrorCode::SelfApprovalForbidden)
            .with("ticket_id", ticket.id.to_string())
            .with("mode", platform.settings().self_approval.to_string()),
    ))
}

/// Every name of the requester, in lower case.
async fn names_of(platform: &Platform, ticket: &TicketRecord) -> Result<Vec<String>, UseCaseError> {
    let mut names = vec![ticket.requester_id.to_string()];
    names.extend(ticket.requester_name.clone());
    if let Some(requester) = &ticket.context_snapshot.requester {
        names.push(requester.username.clone());
        names.extend(requester.display_name.clone());
    }
    if let Some(user) = ticket.requester_id.as_user() {
        let user = platform.read.get_user(user).await?;
        names.extend(
            user.into_iter()
                .flat_map(|user| [Some(user.username), user.email, user.display_name, user.external_id])
                .flatten(),
        );
    }
    let names = names.iter().map(|name| normal(name));
    Ok(names.filter(|name| !name.is_empty()).collect())
}

/// What a person is called in a text, in lower case: the text, and of `Name <address>` also either half.
fn names_in(text: &str) -> Vec<String> {
    let mut names = vec![normal(text)];
    if let Some((name, rest)) = text.split_once('<') {
        let address = rest.split_once('>').map_or(rest, |(address, _)| address);
        names.push(normal(name.trim().trim_matches('"')));
        names.push(normal(address));
    }
    names
}

fn normal(name: &str) -> String {
    name.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_found_in_the_forms_of_a_mail_header() {
        assert_eq!(names_in(" Dora "), ["dora"]);
        assert_eq!(
            names_in("\"Dora D\" <Dora@Example.org>"),
            ["\"dora d\" <dora@example.org>", "dora d", "dora@example.org"]
        );
        assert!(names_in("<dora@example.org").contains(&"dora@example.org".to_owned()));
    }
}
