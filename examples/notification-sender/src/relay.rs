//! The relay: posts what waits in the inbox of the chat's account, once it is committed.
//!
//! At least once: a message is marked as read after the chat has taken it, and posted again when the process ended in
//! between. One replica does it, held by a lease; no transaction is open while something is posted.

use std::time::Duration;

use serde_json::json;
use shepherd_domain::page::PageRequest;
use shepherd_ports::RepositoryError;
use shepherd_ports::notifications::NotificationRecord;
use shepherd_ports::outbound::{OutboundError, OutboundMethod, OutboundRequest};
use shepherd_usecases::Platform;
use zeroize::Zeroizing;

use crate::chat::Chat;

const LEASE: &str = "chat-relay";
/// Between two looks at the inbox, and before a chat that failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// For one message; well below the time that a lease lasts.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why a message is still in the inbox.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    #[error("the store failed")]
    Store(#[from] RepositoryError),
    #[error("the chat cannot be reached")]
    Chat(#[from] OutboundError),
    #[error("the chat answered with status {0}")]
    Status(u16),
}

/// Posts until dropped.
pub(crate) async fn run(platform: &Platform, chat: &Chat) {
    loop {
        if let Err(error) = deliver(platform, chat).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "messages wait for the chat; the next attempt follows"
            );
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Posts what waits, the oldest first.
async fn deliver(platform: &Platform, chat: &Chat) -> Result<(), Undelivered> {
    while let Some(message) = next(platform, chat).await? {
        post(platform, chat, &message).await?;
        let mut uow = platform.begin().await?;
        uow.notifications()
            .mark_read(chat.account, message.id, platform.now())
            .await?;
        uow.commit().await?;
    }
    Ok(())
}

/// The oldest message, if this replica is the one that posts.
async fn next(platform: &Platform, chat: &Chat) -> Result<Option<NotificationRecord>, RepositoryError> {
    let controllers = platform.settings().controllers.clone();
    let lease = platform
        .leases
        .acquire(LEASE, &controllers.instance, controllers.lease_ttl)
        .await?;
    if lease.is_none() {
        return Ok(None);
    }
    let unread = platform.read.unread_count(chat.account).await?;
    // The newest is first, so the oldest is alone on the last of as many pages; there is no page 0.
    let Some(last) = u32::try_from(unread).ok().and_then(|last| PageRequest::new(last, 1)) else {
        return Ok(None);
    };
    let page = platform.read.list_notifications(chat.account, true, last).await?;
    Ok(page.items.into_iter().next())
}

async fn post(platform: &Platform, chat: &Chat, message: &NotificationRecord) -> Result<(), Undelivered> {
    let header = |name: &str, value: String| (name.to_owned(), Zeroizing::new(value));
    let mut headers = vec![header("content-type", "application/json".to_owned())];
    if let Some(token) = &chat.token {
        headers.push(header("authorization", format!("Bearer {}", token.as_str())));
    }
    let request = OutboundRequest {
        method: OutboundMethod::Post,
        url: chat.url.to_string(),
        headers,
        body: json!({"text": text(message)}).to_string().into_bytes(),
        timeout: TIMEOUT,
    };
    let answer = platform.outbound.send(request).await?;
    match answer.status {
        200..300 => Ok(()),
        // It would refuse this one for ever, and all that wait behind it with it.
        status @ (400 | 413 | 422) => {
            tracing::error!(notification = %message.id, status, "the chat refuses a message, which is given up");
            Ok(())
        }
        status => Err(Undelivered::Status(status)),
    }
}

fn text(message: &NotificationRecord) -> String {
    format!("[{}] {}\n{}", message.severity, message.title, message.message)
}
