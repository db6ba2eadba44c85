//! The adapter for systems that are spoken to by signed requests (requests.md §10).
//!
//! A ticket is a POST to the address of the system; its state a GET of `<address>/<id>`; a cancellation a POST to
//! `<address>/<id>/cancel`. Each is signed over the timestamp and the body, which is empty for a GET.
//!
//! The same secret signs both ways, so nothing that is sent here may be a callback: each body has a field that callbacks
//! must not have. A ticket may be sent more than once; receivers tell by `X-Ticket-ID`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use shepherd_domain::external_approval::{StatusMapping, Verdict, below, is_external_id};
use shepherd_domain::ids::TicketId;
use shepherd_domain::redaction::redact_and_truncate;
use shepherd_ports::Clock;
use shepherd_ports::crypto::Digests;
use shepherd_ports::external_approvals::{
    ExternalApprovalProvider, ExternalStatus, OpenedSystem, ProviderFailure, TicketForApproval,
};
use shepherd_ports::outbound::{OutboundAnswer, OutboundClient, OutboundError, OutboundMethod, OutboundRequest};
use zeroize::Zeroizing;

use crate::vm::request::MAX_REASON;

/// The kind.
const KIND: &str = "webhook";
/// Most characters of a person's name that are kept.
const MAX_APPROVER: usize = 255;
/// Most characters of a time that are kept.
const MAX_TIME: usize = 64;

/// The adapter.
pub(super) struct Webhook {
    pub(super) outbound: Arc<dyn OutboundClient>,
    pub(super) digests: Arc<dyn Digests>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a receiver may say of a ticket that it took.
#[derive(Default, Deserialize)]
struct Taken {
    #[serde(default)]
    external_id: Option<String>,
}

/// What a system says when it is asked.
#[derive(Deserialize)]
struct Status {
    status: String,
    #[serde(default)]
    approver: Option<String>,
    #[serde(default)]
    comments: Option<String>,
    #[serde(default)]
    approved_at: Option<String>,
}

/// What a system says of a ticket, by polling or by itself.
pub(super) struct Words<'a> {
    pub(super) status: &'a str,
    pub(super) approver: Option<&'a str>,
    pub(super) comments: Option<&'a str>,
    pub(super) approved_at: Option<&'a str>,
}

/// What the words mean; a word that nobody explained means that nothing is decided.
pub(super) fn understand(mapping: &StatusMapping, ticket: TicketId, words: &Words<'_>) -> ExternalStatus {
    let Some(meaning) = mapping.meaning(words.status) else {
        let word = redact_and_truncate(words.status, shepherd_domain::external_approval::MAX_WORD);
        tracing::warn!(ticket_id = %ticket, word, "an external system says a word that its status mapping does not have");
        return ExternalStatus::Pending;
    };
    meaning.answer().map_or(ExternalStatus::Pending, |answer| {
        ExternalStatus::Decided(Verdict {
            answer,
            approver: kept(words.approver, MAX_APPROVER),
            comment: kept(words.comments, MAX_REASON),
            decided_at: kept(words.approved_at, MAX_TIME),
        })
    })
}

/// A text of somebody else, as much of it as is kept; nothing when nothing is in it.
fn kept(text: Option<&str>, max: usize) -> Option<String> {
    let text = text.map(str::trim).filter(|text| !text.is_empty())?;
    Some(redact_and_truncate(text, max))
}

impl Webhook {
    async fn exchange(
        &self,
        system: &OpenedSystem,
        method: OutboundMethod,
        url: String,
        ticket: Option<TicketId>,
        body: Vec<u8>,
    ) -> Result<OutboundAnswer, ProviderFailure> {
        let timestamp = self.clock.now().timestamp().to_string();
        let message = [timestamp.as_bytes(), b".".as_slice(), body.as_slice()].concat();
        let signature = format!("sha256={}", self.digests.hmac_hex(&system.secret, &message));
        let mut headers = system.headers.clone();
        headers.extend([
            header("content-type", "application/json"),
            header("x-shepherd-timestamp", &timestamp),
            header("x-signature-256", &signature),
        ]);
        headers.extend(ticket.map(|ticket| header("x-ticket-id", &ticket.to_string())));
        let request = OutboundRequest {
            method,
            url,
            headers,
            body,
            timeout: system.timeout,
        };
        self.outbound.send(request).await.map_err(|error| match error {
            OutboundError::Blocked { host } => ProviderFailure::Blocked { host },
            OutboundError::InvalidUrl(_) => ProviderFailure::Url,
            OutboundError::Timeout => ProviderFailure::Timeout,
            OutboundError::Failed(text) => ProviderFailure::Failed(text),
        })
    }
}

fn header(name: &str, value: &str) -> (String, Zeroizing<String>) {
    (name.to_owned(), Zeroizing::new(value.to_owned()))
}

fn successful(answer: OutboundAnswer) -> Result<Vec<u8>, ProviderFailure> {
    if answer.is_success() {
        Ok(answer.body)
    } else {
        Err(ProviderFailure::Status(answer.status))
    }
}

/// The id that the receiver gave the ticket, or the ticket's own. Whoever answers in another language than JSON took it
/// all the same.
fn id_of(ticket: TicketId, body: &[u8]) -> Result<String, ProviderFailure> {
    let taken: Taken = serde_json::from_slice(body).unwrap_or_default();
    match taken.external_id {
        None => Ok(ticket.to_string()),
        Some(id) if is_external_id(&id) => Ok(id),
        Some(_) => Err(ProviderFailure::Answer(
            "the system gave the ticket an id that cannot be used",
        )),
    }
}

/// What a system says of a ticket. Whoever answers no JSON object was not asked: some page is there, or nothing.
fn status_of(body: &[u8]) -> Result<Status, ProviderFailure> {
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|_| ProviderFailure::NoObject)?;
    serde_json::from_value(Value::Object(fields))
        .map_err(|_| ProviderFailure::Answer("the system answered something that is no status"))
}

#[async_trait]
impl ExternalApprovalProvider for Webhook {
    fn system_type(&self) -> &'static str {
        KIND
    }

    async fn submit_for_approval(
        &self,
        system: &OpenedSystem,
        ticket: &TicketForApproval,
    ) -> Result<String, ProviderFailure> {
        let body = serde_json::to_vec(ticket).map_err(|_| ProviderFailure::Failed("the ticket cannot be written"))?;
        let url = system.url.clone();
        let id = ticket.ticket_id;
        let answer = self.exchange(system, OutboundMethod::Post, url, Some(id), body).await?;
        id_of(id, &successful(answer)?)
    }

    async fn check_status(
        &self,
        system: &OpenedSystem,
        ticket: TicketId,
        external_id: &str,
    ) -> Result<ExternalStatus, ProviderFailure> {
        let url = below(&system.url, &[external_id]);
        let answer = self
            .exchange(system, OutboundMethod::Get, url, Some(ticket), Vec::new())
            .await?;
        let status = status_of(&successful(answer)?)?;
        let words = Words {
            status: &status.status,
            approver: status.approver.as_deref(),
            comments: status.comments.as_deref(),
            approved_at: status.approved_at.as_deref(),
        };
        Ok(understand(&system.status_mapping, ticket, &words))
    }

    async fn cancel_request(
        &self,
        system: &OpenedSystem,
        ticket: TicketId,
        external_id: &str,
    ) -> Result<(), ProviderFailure> {
        // Sent back as a callback, `event` makes it none.
        let body = json!({
            "event": "cancel", "shepherd_ticket_id": ticket, "external_ticket_id": external_id, "status": "cancelled",
        });
        let url = below(&system.url, &[external_id, "cancel"]);
        let answer = self
            .exchange(
                system,
                OutboundMethod::Post,
                url,
                Some(ticket),
                body.to_string().into_bytes(),
            )
            .await?;
        match answer.status {
            404 | 410 => Ok(()),
            _ => successful(answer).map(drop),
        }
    }

    async fn probe(&self, system: &OpenedSystem) -> Result<(), ProviderFailure> {
        let body = br#"{"test":true}"#.to_vec();
        let answer = self
            .exchange(system, OutboundMethod::Post, system.url.clone(), None, body)
            .await?;
        successful(answer).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use shepherd_domain::external_approval::{Answer, Meaning};

    use super::*;

    const TICKET: TicketId = TicketId::from_bits(7);

    #[test]
    fn a_receiver_may_name_the_ticket_or_leave_it_its_own_id() {
        assert_eq!(id_of(TICKET, br#"{"external_id": "CHG-1"}"#), Ok("CHG-1".to_owned()));
        for body in [
            &b""[..],
            b"OK",
            b"{}",
            br#"{"external_id": null}"#,
            br#"{"external_id": 5}"#,
        ] {
            assert_eq!(id_of(TICKET, body), Ok(TICKET.to_string()));
        }
        for id in ["", "..", "a\\nb"] {
            let body = format!(r#"{{"external_id": "{id}"}}"#);
            assert!(id_of(TICKET, body.as_bytes()).is_err(), "{id}");
        }
    }

    #[test]
    fn an_answer_without_a_status_is_no_answer_of_a_system_that_only_calls_back() {
        assert_eq!(status_of(br#"{"status": "done"}"#).unwrap().status, "done");
        for page in [&b""[..], b"OK", b"<html>", b"[]", b"null"] {
            assert_eq!(status_of(page).err(), Some(ProviderFailure::NoObject));
        }
        for wrong in [&b"{}"[..], br#"{"status": 5}"#] {
            assert!(matches!(status_of(wrong), Err(ProviderFailure::Answer(_))));
        }
    }

    #[test]
    fn what_nobody_explained_is_no_decision() {
        let mapping = StatusMapping::new([("done".to_owned(), Meaning::Approved)]).unwrap();
        let words = |status| Words {
            status,
            approver: Some(" dora "),
            comments: Some(""),
            approved_at: None,
        };
        assert_eq!(understand(&mapping, TICKET, &words("weird")), ExternalStatus::Pending);
        assert_eq!(
            understand(&mapping, TICKET, &words("Done")),
            ExternalStatus::Decided(Verdict {
                answer: Answer::Approved,
                approver: Some("dora".to_owned()),
                comment: None,
                decided_at: None,
            })
        );
    }
}
