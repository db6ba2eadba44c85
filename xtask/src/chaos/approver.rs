//! Somebody who decides what waits: policies approve what users ask for, but what no cluster could take at that moment
//! waits for a person.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::stage::Stage;

const POLL: Duration = Duration::from_secs(1);
const WAITING: &str = "SELECT id::text FROM approval_tickets WHERE status = 'PENDING_APPROVAL' ORDER BY created_at";

/// Approves until a moment. Whatever fails is tried again with the next look.
pub(super) async fn approve_all(stage: &Stage, until: Instant) {
    while Instant::now() < until {
        // The database or the replicas may be away just now.
        let _ = approve_waiting(stage).await;
        tokio::time::sleep(POLL).await;
    }
}

/// Approves what waits now.
pub(super) async fn approve_waiting(stage: &Stage) -> anyhow::Result<()> {
    let mut session = stage.connect().await?;
    let waiting: Vec<String> = sqlx::query_scalar(WAITING).fetch_all(&mut session).await?;
    for (number, ticket) in waiting.iter().enumerate() {
        // One that cannot be approved yet does not keep the others waiting.
        let _ = approve(stage, number, ticket).await;
    }
    Ok(())
}

async fn approve(stage: &Stage, number: usize, ticket: &str) -> anyhow::Result<()> {
    let path = format!("/approvals/{ticket}");
    let suggested = stage.url(number, &format!("{path}/suggested-clusters"));
    let request = stage.http.get(suggested).bearer_auth(&stage.approver);
    let found: Value = request.send().await?.error_for_status()?.json().await?;
    let best = found["items"].get(0).context("no cluster can take it yet")?;
    let choice = json!({"selected_cluster_id": best["cluster_id"]});
    let request = stage.http.post(stage.url(number, &format!("{path}/approve")));
    let answer = request.bearer_auth(&stage.approver).json(&choice).send().await?;
    answer.error_for_status()?;
    Ok(())
}
