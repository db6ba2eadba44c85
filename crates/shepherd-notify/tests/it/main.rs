//! The inbox sender against a store that remembers, and the outbound client against servers of this machine.

mod outbound;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::ids::{NotificationId, UserId};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_notify::InboxSender;
use shepherd_ports::RepositoryError;
use shepherd_ports::notifications::{NotificationRepository, NotificationSender};

const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Remembers what it was asked to insert, for as many recipients as it is told, or fails.
struct Store {
    recipients: Result<u64, &'static str>,
    inserted: Vec<(Audience, NotificationDraft, DateTime<Utc>)>,
}

impl Store {
    fn with(recipients: Result<u64, &'static str>) -> Self {
        Self {
            recipients,
            inserted: Vec::new(),
        }
    }
}

#[async_trait]
impl NotificationRepository for Store {
    async fn insert_for(
        &mut self,
        audience: Audience,
        draft: &NotificationDraft,
        at: DateTime<Utc>,
    ) -> Result<u64, RepositoryError> {
        let recipients = self.recipients.map_err(|reason| RepositoryError::Busy(reason.into()))?;
        self.inserted.push((audience, draft.clone(), at));
        Ok(recipients)
    }

    async fn mark_read(&mut self, _: UserId, _: NotificationId, _: DateTime<Utc>) -> Result<bool, RepositoryError> {
        unreachable!("sending marks nothing")
    }

    async fn mark_all_read(&mut self, _: UserId, _: DateTime<Utc>) -> Result<(), RepositoryError> {
        unreachable!("sending marks nothing")
    }
}

fn draft() -> NotificationDraft {
    NotificationDraft::new(
        NotificationType::SystemAlert,
        Severity::Urgent,
        "Cluster lost",
        "It does not answer",
    )
}

#[tokio::test]
async fn a_notification_is_stored_once_in_the_callers_store() {
    let mut store = Store::with(Ok(3));
    InboxSender
        .send(&mut store, Audience::PlatformAdmins, draft(), AT)
        .await
        .unwrap();
    assert_eq!(store.inserted, [(Audience::PlatformAdmins, draft(), AT)]);
}

#[tokio::test]
async fn several_notifications_go_to_their_own_audiences() {
    let mut store = Store::with(Ok(1));
    let user = Audience::User(UserId::from_bits(7));
    let messages = vec![(Audience::PlatformAdmins, draft()), (user, draft())];
    InboxSender.send_many(&mut store, messages, AT).await.unwrap();
    let expected = [(Audience::PlatformAdmins, draft(), AT), (user, draft(), AT)];
    assert_eq!(store.inserted, expected);
}

#[tokio::test]
async fn an_audience_without_anybody_is_no_error() {
    let mut store = Store::with(Ok(0));
    assert!(
        InboxSender
            .send(&mut store, Audience::PlatformAdmins, draft(), AT)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_store_that_fails_fails_the_caller() {
    let mut store = Store::with(Err("deadlock"));
    let error = InboxSender
        .send(&mut store, Audience::PlatformAdmins, draft(), AT)
        .await
        .unwrap_err();
    assert!(matches!(error, RepositoryError::Busy(_)));
}
