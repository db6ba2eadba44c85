//! The inbox: rows that the recipients read in the platform itself.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::notification::{Audience, NotificationDraft};
use shepherd_ports::RepositoryError;
use shepherd_ports::notifications::{NotificationRepository, NotificationSender};

/// Stores a notification for every recipient, in the transaction of the change that it tells about.
#[derive(Clone, Copy, Debug, Default)]
pub struct InboxSender;

#[async_trait]
impl NotificationSender for InboxSender {
    async fn send(
        &self,
        store: &mut dyn NotificationRepository,
        audience: Audience,
        draft: NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        // An audience may be empty: an environment without approvers is no reason to refuse a request.
        store.insert_for(audience, &draft, at).await.map(|_recipients| ())
    }

    async fn send_many(
        &self,
        store: &mut dyn NotificationRepository,
        messages: Vec<(Audience, NotificationDraft)>,
        at: DateTime<Utc>,
    ) -> Result<(), RepositoryError> {
        store.insert_many(&messages, at).await.map(|_recipients| ())
    }
}
