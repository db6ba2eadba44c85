//! What calls Shepherd: a decision is sent as soon as it is there, signed like everything else, until it is taken.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::board::Case;
use crate::{Desk, client, http};

/// Between two looks at the board, and before a callback that failed is sent again.
const PAUSE: Duration = Duration::from_millis(500);

/// Reports until dropped.
pub(crate) async fn run(desk: &Desk) {
    loop {
        for case in desk.board.due() {
            let id = &case.external_id;
            match send(desk, &case).await {
                Ok(answer) => {
                    println!("{id} is reported: {answer}");
                    desk.board.reported(id);
                }
                Err(error) => eprintln!("{id} is reported again: {error:#}"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sends one callback; answers what Shepherd says. An error is worth another attempt.
async fn send(desk: &Desk, case: &Case) -> anyhow::Result<String> {
    let body = body(case).to_string();
    let timestamp = http::now().timestamp().to_string();
    let url = &case.ticket.callback_url;
    let answer = client::for_address(url)?
        .post(url)
        .header("Content-Type", "application/json")
        .header("X-Ticket-ID", &case.ticket.shepherd_ticket_id)
        .header("X-Signature-256", desk.secret.sign(&timestamp, body.as_bytes()))
        .header("X-Shepherd-Timestamp", timestamp)
        .body(body)
        .send()
        .await
        .with_context(|| url.clone())?;
    let status = answer.status();
    let said = answer.text().await?;
    if status.is_server_error() || status == 429 {
        bail!("{status}: {said}");
    }
    // A refusal stays one: a ticket that is gone, or that the named person must not decide.
    Ok(format!("{} {said}", status.as_u16()))
}

/// The callback of the contract, which has these fields and no others.
fn body(case: &Case) -> Value {
    let status = case.status();
    json!({
        "shepherd_ticket_id": case.ticket.shepherd_ticket_id,
        "external_ticket_id": case.external_id,
        "status": status.status,
        "approver": status.approver,
        "comments": status.comments,
        "approved_at": status.approved_at,
    })
}
